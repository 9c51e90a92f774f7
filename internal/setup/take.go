package setup

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/nginxtok"
)

// What tidegate's configuration can say of an upstream block; conf/upstream.go is where it is checked.
const (
	maxHashKey     = 128
	maxMaxConns    = 1_000_000
	maxMaxFails    = 1000
	maxFailTimeout = time.Hour
	// nginx's own defaults.
	defaultMaxFails, defaultFailTimeout = 1, 10 * time.Second
)

var (
	hashRE = regexp.MustCompile(`^hash ((?:[A-Za-z0-9_.:/-]|\$[A-Za-z0-9_])+)( consistent)?$`)
	// hostRE is a name that both nginx and tidegate.yaml take: labels of which the last is no number.
	hostRE    = regexp.MustCompile(`^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)
	secondsRE = regexp.MustCompile(`^(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?$`)
	bracedRE  = regexp.MustCompile(`\$\{([A-Za-z0-9_]+)\}($|[^A-Za-z0-9_])`)
)

// takeable says what of the block has no place in tidegate's configuration and would be lost, "" when nothing is.
func (u *upstream) takeable() string {
	switch {
	case u.bad != "":
		return u.bad
	case len(u.Servers) == 0:
		return "it has no servers, and nginx refuses that"
	case !upstreamName(u.Name):
		return "its name is not made of 1 to 64 letters, digits and . _ -"
	case !u.knownMethod():
		return fmt.Sprintf("its method %.80q has no counterpart in tidegate.yaml (least_conn, random, random two, random two least_conn, ip_hash, or hash with a key of letters, digits and $ _ . : / -)", u.Method)
	}
	for _, o := range u.Other {
		if word, _, _ := strings.Cut(o, " "); word != "keepalive_requests" && word != "keepalive_time" && word != "keepalive_timeout" {
			return fmt.Sprintf("its line %.80q has no counterpart in tidegate.yaml", o)
		}
	}
	for _, srv := range u.Servers {
		if why := srv.takeable(u); why != "" {
			return fmt.Sprintf("its server %.80q %s", srv.Address, why)
		}
	}
	return u.unequal()
}

func (u *upstream) knownMethod() bool {
	switch u.Method {
	case "", "least_conn", "random", "random two", "random two least_conn":
		return true
	case "ip_hash":
		return !u.Stream()
	}
	g := hashRE.FindStringSubmatch(u.Method)
	return g != nil && len(g[1]) <= maxHashKey
}

// takeable says what of a server line would be lost and must not be, "" when nothing is.
func (v webServer) takeable(u *upstream) string {
	if v.Backup && u.Method != "" && u.Method != "least_conn" {
		return fmt.Sprintf("is a backup, which nginx itself refuses with %.80q", u.Method)
	}
	for _, p := range v.Params {
		switch word, _, _ := strings.Cut(p, "="); word {
		case "resolve", "service":
			return fmt.Sprintf("has %q: nginx looks its address up again and again, and each answer is a server; tidegate knows one address for each", p)
		case "weight":
			return fmt.Sprintf("has %q, which is no weight", p)
		case "max_conns", "max_fails", "fail_timeout":
			return fmt.Sprintf("has %q; tidegate.yaml takes max_conns up to %d, max_fails up to %d and fail_timeout from 1s to 1h", p, maxMaxConns, maxMaxFails)
		default:
			return fmt.Sprintf("has %q, which has no counterpart in tidegate.yaml", p)
		}
	}
	if v.MaxConns > 0 && u.Zone == "" {
		return fmt.Sprintf("has max_conns=%d, and the upstream no zone, so that each nginx worker counts for itself; tidegate.yaml bounds what all of them have together: give the upstream a zone, and the bound that is meant", v.MaxConns)
	}
	return v.unknown
}

// unequal says which servers' failures are counted in different ways, "" when all are counted in the same. A server that is
// down has no failures.
func (u *upstream) unequal() string {
	var first *webServer
	for i := range u.Servers {
		v := &u.Servers[i]
		switch {
		case v.Down:
		case first == nil:
			first = v
		case v.maxFails != first.maxFails || v.failTimeout != first.failTimeout:
			return fmt.Sprintf("its servers %.80q and %.80q differ (max_fails=%d fail_timeout=%s and max_fails=%d fail_timeout=%s), and tidegate.yaml has one max_fails and one fail_timeout for all",
				first.Address, v.Address, first.maxFails, seconds(first.failTimeout), v.maxFails, seconds(v.failTimeout))
		}
	}
	return ""
}

// failures are max_fails and fail_timeout of the servers.
func (u *upstream) failures() (maxFails int, failTimeout time.Duration) {
	for _, v := range u.Servers {
		if !v.Down {
			return v.maxFails, v.failTimeout
		}
	}
	return defaultMaxFails, defaultFailTimeout
}

// Stream tells that the block belongs into nginx's stream block.
func (u *upstream) Stream() bool { return u.context == "stream" }

// MaxFails is what the configuration says, "" for nginx's default.
func (u *upstream) MaxFails() string {
	if n, _ := u.failures(); n != defaultMaxFails {
		return strconv.Itoa(n)
	}
	return ""
}

// FailTimeout is what the configuration says, "" for nginx's default.
func (u *upstream) FailTimeout() string {
	if _, d := u.failures(); d != defaultFailTimeout {
		return seconds(d)
	}
	return ""
}

// Size is the zone's size, "" when the block has no zone, shares another's, or has one so small that tidegate.yaml refuses it.
func (u *upstream) Size() string {
	words := strings.Fields(u.Zone)
	if len(words) != 2 {
		return ""
	}
	size := strings.ToLower(words[1])
	if kB, err := strconv.Atoi(strings.TrimSuffix(size, "k")); err == nil && strings.HasSuffix(size, "k") && kB-16 < len(u.Servers) {
		return ""
	}
	return words[1]
}

// hashes tells that the method goes by the servers' places, and that weights move keys.
func (u *upstream) hashes() bool {
	return u.Method == "ip_hash" || strings.HasPrefix(u.Method, "hash ")
}

// lost are the settings that the generated block will not have, for a warning.
func (u *upstream) lost() []string { return append([]string(nil), u.Other...) }

// methodOf is the balancing method in tidegate's words. A word with a space in it keeps quotes, so that it is no two words.
func methodOf(d *nginxtok.Directive) string {
	var words []string
	for _, w := range d.Words {
		text := w.Text
		for bracedRE.MatchString(text) {
			text = bracedRE.ReplaceAllString(text, "$$$1$2")
		}
		if text == "" || strings.ContainsAny(text, " \t\r\n") {
			text = strconv.Quote(text)
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}

// setting takes a parameter of a server line that tidegate's configuration has too, false for one that it has not.
func (v *webServer) setting(word string) bool {
	name, value, _ := strings.Cut(word, "=")
	n, err := strconv.Atoi(value)
	switch name {
	case "max_conns":
		if err == nil && n >= 0 && n <= maxMaxConns {
			v.MaxConns = n
			return true
		}
	case "max_fails":
		if err == nil && n >= 0 && n <= maxMaxFails {
			v.maxFails = n
			return true
		}
	case "fail_timeout":
		if d, ok := nginxTime(value); ok && d >= time.Second && d <= maxFailTimeout {
			v.failTimeout = d
			return true
		}
	}
	return false
}

// nginxTime reads hours, minutes and seconds as nginx writes them; a number alone is seconds.
func nginxTime(s string) (time.Duration, bool) {
	g := secondsRE.FindStringSubmatch(s)
	if s == "" || g == nil {
		return 0, false
	}
	var d time.Duration
	for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(g[i+1]) // "" is 0
		d += time.Duration(n) * unit
	}
	return d, true
}

// seconds writes a duration as both nginx and tidegate.yaml take it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + "s" }
