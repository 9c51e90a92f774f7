package conf

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Upstream is the app's nginx upstream.
type Upstream struct {
	Name string
	// Stream: it belongs into nginx's stream block, not into http.
	Stream bool
	// Method is "" (weighted round robin) or nginx's own words: "least_conn", "random", "random two", "random two least_conn",
	// "ip_hash", "hash KEY" or "hash KEY consistent".
	Method string
	// Zone is the size of the shared memory zone, "" for none.
	Zone string
	// Keepalive is the number of idle connections that each nginx worker keeps, 0 for none.
	Keepalive int
	// MaxConns bounds the connections to each server, MaxConnsPerWorker those for each ready worker; 0 for no bound.
	MaxConns, MaxConnsPerWorker int
	// MaxFails is nginx's max_fails for every server, -1 for max_fails=0, 0 for nginx's default. FailTimeout 0 is nginx's default.
	MaxFails    int
	FailTimeout time.Duration
	// Lines are the server lines in the file's order: those of App.Servers, and spares that nobody steers.
	Lines []UpstreamLine
}

// UpstreamLine is a server line of an upstream.
type UpstreamLine struct {
	Name, Address string
	// Backup and Down make it a spare: written so, in its place, and neither steered nor counted.
	Backup, Down bool
	// MaxConns bounds its connections, 0 for as the upstream says.
	MaxConns int
	// Workers are all it can have, 1 for one whose workers nobody steers; Speed is its node's.
	Workers int
	Speed   float64
}

// Spare tells that tidegate neither steers nor counts the server.
func (l UpstreamLine) Spare() bool { return l.Backup || l.Down }

var (
	upstreamRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	hashRE     = regexp.MustCompile(`^hash ((?:[A-Za-z0-9_.:/-]|\$[A-Za-z0-9_])+)( consistent)?$`)
	zoneRE     = regexp.MustCompile(`^([0-9]{1,5})([kKmM])$`)
	webUnixRE  = regexp.MustCompile(`^unix:/[A-Za-z0-9._@/+-]+$`)
)

// The words of nginx's balancing methods; hash has a key besides.
const (
	plainMethods = "least_conn, random, random two, random two least_conn, ip_hash, hash KEY or hash KEY consistent"
	maxHashKey   = 128
	maxMaxConns  = 1000000
)

func (s *source) upstream(key string, raw *rawApp, seen map[string]string) *Upstream {
	r := raw.Upstream
	u := &Upstream{
		Name:              r.Name,
		Stream:            r.Stream,
		Method:            s.method(key, r),
		Zone:              s.zone(key+".zone", r.Zone, len(raw.Servers)),
		Keepalive:         s.int(key+".keepalive", r.Keepalive, 0, 0, 10000),
		MaxConns:          s.int(key+".max_conns", r.MaxConns, 0, 0, maxMaxConns),
		MaxConnsPerWorker: s.int(key+".max_conns_per_worker", r.MaxConnsPerWorker, 0, 1, maxPerWorker),
		FailTimeout:       s.duration(key+".fail_timeout", r.FailTimeout, 0, time.Second, time.Hour),
	}
	if !upstreamRE.MatchString(r.Name) {
		s.fail(key+".name", r.Name, "1 to 64 letters, digits, dots, dashes and underscores, not beginning with a dot or dash")
	}
	low := "nginx upstream" + strings.ToLower(r.Name)
	if before, there := seen[low]; there {
		s.fail(key+".name", r.Name, "an nginx upstream that is not used before (it is at %s; nginx makes no difference of case)", before)
	}
	seen[low] = key + ".name"
	if n := r.MaxFails; n != nil {
		if u.MaxFails = s.int(key+".max_fails", n, 0, 0, 1000); *n == 0 {
			u.MaxFails = -1
		}
	}
	if u.FailTimeout%time.Second != 0 {
		s.fail(key+".fail_timeout", r.FailTimeout, "whole seconds, which is all nginx is told")
	}
	if u.Stream && r.Keepalive != nil {
		s.fail(key+".keepalive", strconv.Itoa(*r.Keepalive), "nothing in a stream upstream: nginx keeps idle connections for http alone")
	}
	if u.MaxConns > 0 && u.MaxConnsPerWorker > 0 {
		s.fail(key+".max_conns_per_worker", strconv.Itoa(u.MaxConnsPerWorker), "nothing beside max_conns: one of the two")
	}
	if (u.MaxConns > 0 || u.MaxConnsPerWorker > 0) && u.Zone == "" {
		s.fail(key+".zone", r.Zone, "a size where connections are bounded: without a zone each nginx worker counts for itself")
	}
	return u
}

// included refuses an upstream that no include file is named for. Without the section nginx that has been said.
func (s *source) included(key string, u *Upstream, n *Nginx) {
	switch {
	case n == nil || s.policyOnly:
	case u.Stream && n.StreamInclude == "":
		s.fail(key+".stream", "true", "nothing, as long as nginx.stream_include does not name the file for nginx's stream block")
	case !u.Stream && n.Include == "":
		s.fail(key+".name", u.Name, "nothing in the http block, as long as nginx.include does not name the file for it; `stream: true` is for the stream block")
	}
}

// method checks the balancing method, and what it forbids.
func (s *source) method(key string, r *rawUpstream) string {
	m := strings.Join(strings.Fields(r.Method), " ")
	switch g := hashRE.FindStringSubmatch(m); {
	case m == "round_robin":
		return ""
	case m == "", m == "least_conn", m == "random", m == "random two", m == "random two least_conn", m == "ip_hash":
	case strings.HasPrefix(m, "hash ") && (g == nil || len(g[1]) > maxHashKey):
		s.fail(key+".method", r.Method, "hash KEY or hash KEY consistent, with a KEY of at most %d letters, digits and $ _ . : / - that names variables as $uri does", maxHashKey)
	case g == nil:
		s.fail(key+".method", r.Method, "round_robin (or nothing), %s", plainMethods)
	}
	if m == "ip_hash" && r.Stream {
		s.fail(key+".method", m, "another method in a stream upstream: nginx has ip_hash for http alone, `hash $remote_addr` is its like")
	}
	return m
}

// zone checks the size of the shared memory zone. Without one, each nginx worker balances for itself. nginx 1.22 takes a
// good kilobyte for a server beside some sixteen: 53 servers in 64k, 127 in 128k, 1144 in 1m.
func (s *source) zone(key, value string, servers int) string {
	switch value {
	case "off":
		return ""
	case "":
		kB := 64
		for (kB-16)*3/4 < servers {
			kB *= 2
		}
		return strconv.Itoa(kB) + "k"
	}
	g := zoneRE.FindStringSubmatch(value)
	if g == nil {
		s.fail(key, value, "off, or a size from 32k to 64m")
		return ""
	}
	kB, _ := strconv.Atoi(g[1])
	if strings.EqualFold(g[2], "m") {
		kB *= 1024
	}
	switch {
	case kB < 32 || kB > 64*1024:
		s.fail(key, value, "off, or a size from 32k to 64m")
	case kB-16 < servers:
		s.fail(key, value, "at least %dk for %d servers, or nothing for a size that fits", servers+16, servers)
	}
	return value
}

// line makes the upstream's line of a server.
func (s *source) line(key string, raw *rawServer, u *Upstream, workers int, speed float64) {
	l := UpstreamLine{
		Name: raw.Name, Address: raw.Address, Backup: raw.Backup, Down: raw.Down, Workers: workers, Speed: speed,
		MaxConns: s.int(key+".max_conns", raw.MaxConns, 0, 1, maxMaxConns),
	}
	if strings.HasPrefix(raw.Address, "unix:") && !webUnixRE.MatchString(raw.Address) {
		s.fail(key+".address", raw.Address, "in an nginx upstream unix: and an absolute path of letters, digits and . _ @ / + -")
	}
	if raw.MaxConns != nil && u.Zone == "" {
		s.fail(key+".max_conns", strconv.Itoa(*raw.MaxConns), "nothing without a zone of the upstream: each nginx worker would count for itself")
	}
	if raw.MaxConns != nil && u.MaxConnsPerWorker > 0 && !l.Spare() {
		s.fail(key+".max_conns", strconv.Itoa(*raw.MaxConns), "nothing beside max_conns_per_worker of the upstream, which follows the ready workers")
	}
	if raw.Backup && (u.Method == "ip_hash" || strings.HasPrefix(u.Method, "hash ") || strings.HasPrefix(u.Method, "random")) {
		s.fail(key+".backup", "true", "nothing with the method %s, for which nginx has no backups: with round robin and least_conn alone", u.Method)
	}
	u.Lines = append(u.Lines, l)
}

// spare checks a server that is nothing but a line of the upstream.
func (s *source) spare(key string, raw *rawServer) {
	s.name(key+".name", raw.Name)
	s.address(key+".address", raw.Address)
	if raw.Backup && raw.Down {
		s.fail(key+".down", "true", "nothing beside backup: one of the two")
	}
	role := "a backup"
	if raw.Down {
		role = "down"
	}
	for _, k := range []struct {
		name, value string
		given       bool
	}{
		{"node", raw.Node, raw.Node != ""}, {"workers", "{...}", raw.Workers != nil}, {"always_up", "true", raw.AlwaysUp},
		{"initial", raw.Initial, raw.Initial != ""}, {"warmup_url", raw.WarmupURL, raw.WarmupURL != ""},
	} {
		if k.given {
			s.fail(key+"."+k.name, k.value, "nothing for a server that is %s: nginx alone knows it, tidegate neither steers nor counts it", role)
		}
	}
}

// webOnly refuses what only a line of an nginx upstream can have.
func (s *source) webOnly(key string, raw *rawServer) {
	for _, k := range []struct {
		name, value string
		given       bool
	}{{"backup", "true", raw.Backup}, {"down", "true", raw.Down}, {"max_conns", fmt.Sprint(deref(raw.MaxConns)), raw.MaxConns != nil}} {
		if k.given {
			s.fail(key+"."+k.name, k.value, "nothing, as long as the app has no nginx_upstream")
		}
	}
}

func deref(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
