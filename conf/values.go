package conf

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Secret is a text that no log, no error and no JSON shows.
type Secret string

// String hides the text.
func (Secret) String() string { return "<secret>" }

// GoString hides the text from %#v.
func (Secret) GoString() string { return "<secret>" }

// MarshalText hides the text from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte("<secret>"), nil }

// Reveal returns the text, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

func (s *source) duration(key, value string, def, least, most time.Duration) time.Duration {
	if value == "" {
		return def
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		s.fail(key, value, "a duration from %v to %v, such as %q", least, most, def.String())
		return def
	}
	return d
}

func (s *source) int(key string, value *int, def, least, most int) int {
	if value == nil {
		return def
	}
	if *value < least || *value > most {
		s.fail(key, strconv.Itoa(*value), "a whole number from %d to %d", least, most)
		return def
	}
	return *value
}

// share takes a number above least (or least itself with closed) up to 1.
func (s *source) share(key string, value *float64, def float64, closed bool) float64 {
	if value == nil {
		return def
	}
	if v := *value; !(v > 0 || closed && v == 0) || v > 1 {
		from := "above 0"
		if closed {
			from = "from 0"
		}
		s.fail(key, strconv.FormatFloat(v, 'g', -1, 64), "a share %s to 1", from)
		return def
	}
	return *value
}

// number takes a number from least to most.
func (s *source) number(key string, value *float64, def, least, most float64) float64 {
	if value == nil {
		return def
	}
	if v := *value; !(v >= least && v <= most) {
		s.fail(key, strconv.FormatFloat(v, 'g', -1, 64), "a number from %v to %v", least, most)
		return def
	}
	return *value
}

func choice(value *bool, def bool) bool {
	if value == nil {
		return def
	}
	return *value
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$`)

func (s *source) name(key, value string) string {
	if !nameRE.MatchString(value) {
		s.fail(key, value, "1 to 64 letters, digits, dots, colons, dashes and underscores, not beginning with a dot, colon or dash")
	}
	return value
}

func (s *source) oneOf(key, value, def string, allowed ...string) string {
	if value == "" {
		return def
	}
	for _, a := range allowed {
		if value == a {
			return value
		}
	}
	s.fail(key, value, "one of %s", strings.Join(allowed, ", "))
	return def
}

// path takes an absolute path; "" gives def.
func (s *source) path(key, value, def string) string {
	if value == "" {
		value = def
	}
	if value == "" || !filepath.IsAbs(value) || strings.ContainsAny(value, "\x00\n;{}\"'") {
		s.fail(key, value, "an absolute path without quotes, semicolons or braces")
	}
	return value
}

// hostPort takes "host:port" with a port from 1 to 65535 and, unless names are allowed, an IP address.
func (s *source) hostPort(key, value string, names bool) string {
	host, port, err := net.SplitHostPort(value)
	n, perr := strconv.Atoi(port)
	switch {
	case !names && (err != nil || perr != nil || n < 1 || n > 65535 || host == ""):
		s.fail(key, value, "an IP address and a port from 1 to 65535, such as 10.0.0.1:8000")
	case err != nil || perr != nil || n < 1 || n > 65535 || host == "":
		s.fail(key, value, "host:port with a port from 1 to 65535")
	case net.ParseIP(host) != nil:
	case !names:
		s.fail(key, value, "an IP address and a port, such as 10.0.0.1:8000 (a host name is not looked up here)")
	case !hostRE.MatchString(host) || len(host) > 253:
		s.fail(key, value, "host:port with an IP address or a name of letters, digits, dots, dashes and underscores")
	}
	return value
}

// address takes where a server is: "unix:/path", or "host:port" with an IP address or a name.
func (s *source) address(key, value string) string {
	if strings.HasPrefix(value, "unix:") {
		return s.socket(key, value, "")
	}
	return s.hostPort(key, value, true)
}

// canonical writes an IP address and a port in the one way that tells equal ones, and anything else as it is.
func canonical(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.String()
	}
	if strings.HasPrefix(address, "unix:") {
		return address
	}
	return strings.ToLower(address)
}

// hostRE is a name for DNS: labels of letters, digits, dashes and underscores, the last of which is no number.
var hostRE = regexp.MustCompile(`^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)

// socket takes "unix:/path" or "host:port".
func (s *source) socket(key, value, def string) string {
	if value == "" {
		value = def
	}
	if p, ok := strings.CutPrefix(value, "unix:"); ok {
		if s.path(key, p, ""); len(p) > 107 {
			s.fail(key, value, "a socket path of at most 107 bytes")
		}
		return value
	}
	if value == "" {
		s.fail(key, value, "unix:/path, or an IP address and a port from 1 to 65535, such as 10.0.0.1:8000")
		return value
	}
	if filepath.IsAbs(value) {
		s.fail(key, value, "unix:/path or an IP address and a port; a path stands after `unix:`, here unix:%s", value)
		return value
	}
	return s.hostPort(key, value, false)
}

func (s *source) httpURL(key, value string, unix bool) string {
	if p, ok := strings.CutPrefix(value, "unix:"); ok && unix {
		s.path(key, p, "")
		return value
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		s.fail(key, value, "a URL such as http://10.0.0.1:9101, without a user or password")
	}
	return value
}

// token reads a secret from its file.
func (s *source) token(key, file string) Secret {
	if file == "" || s.policyOnly {
		return ""
	}
	if s.path(key, file, ""); !filepath.IsAbs(file) {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		s.fail(key, file, "a readable file with the token (%v)", unwrapped(err))
		return ""
	}
	t := strings.TrimSpace(string(text))
	if len(t) < 16 || len(t) > 4096 || strings.ContainsAny(t, " \n\t") {
		s.fail(key, file, "a file with one token of 16 to 4096 characters without spaces")
		return ""
	}
	return Secret(t)
}

func unwrapped(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

func index(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
