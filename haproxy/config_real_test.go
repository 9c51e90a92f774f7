package haproxy_test

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// styles are ways in which people write haproxy.cfg. Each begins with the same global section and passes `haproxy -c`.
var styles = map[string]string{
	"plain": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend web
    balance roundrobin
    server s1 127.0.0.1:8001 weight 100 check
    server s2 127.0.0.2:8002 weight 50 maxconn 20 disabled
backend api
    server a 127.0.0.1:8003 backup
`,
	"defaults of several kinds": `
defaults base
    mode http
    balance leastconn
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    default-server weight 100 maxconn 5
defaults tuned from base
    balance source
    hash-type consistent
    default-server maxconn 9 check
backend inherits-the-last
    server s1 127.0.0.1:1
backend by-name from base
    server s1 127.0.0.1:1
    server s2 127.0.0.1:2 weight 1
defaults
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend fresh
    server s1 127.0.0.1:1
backend by-name-later from tuned
    balance uri
    server s1 127.0.0.1:1 no-check
defaults from base
    mode tcp
listen unnamed-from
    bind {{BIND1}}
    server s1 127.0.0.1:1
`,
	"quotes, escapes and comments": "\r\ndefaults\r\n\tmode\thttp # as it should be\r\n\ttimeout connect 1s\r\n\ttimeout client 1s\r\n\ttimeout server 1s\r\n" +
		"#backend gone\r\nback\"end\" 'web' # the shop\r\n  \t server   \"s1\" 127.0.0.1\":8001\" weight '7'\r\n" +
		"server s2 127.0.0.1:8002 cookie a\\ b\\#c weight 8#9\r\n    #server s3 127.0.0.1:8003\r\n server s4 127.0.0.1:8004 cookie 'x y' \"maxconn\" \\x33\r\n",
	"default-server merged": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    default-server weight 10
backend web
    server early 127.0.0.1:1
    default-server check inter 3s
    server s1 127.0.0.1:1 no-check
    default-server weight 20 disabled maxconn 3
    server s2 127.0.0.1:2
    server s3 127.0.0.1:3 enabled weight 30
    default-server enabled no-check backup
    server s4 127.0.0.1:4 no-backup
`,
	"listen and a frontend of the same name": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend web
    bind {{BIND1}}
    default_backend web
backend web
    server s1 127.0.0.1:1
listen both
    bind {{BIND2}}
    mode tcp
    balance static-rr
    server s1 127.0.0.1:2
`,
	"templates": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend web
    default-server weight 100
    server-template s 4 127.0.0.1:80 check disabled
    server-template t- 7-9 localhost:81
    server last 127.0.0.1:82
`,
	"addresses": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend web
    server v4 127.0.0.1:80
    server tagged ipv4@127.0.0.1:81
    server v6 [::1]:82
    server bare6 ::1:83
    server tagged6 ipv6@::1:84
    server name localhost:85
    server noport 127.0.0.1
    server relative 127.0.0.1:+100
    server any *:86
    server short :87
    server unix1 unix@/var/run/x.sock
    server unix2 /var/run/x.sock
    server abstract abns@x
`,
	"environment": `
global
    setenv SHOP_PORT 8100
    setenv WORDS "weight 9 maxconn 4"
    presetenv SHOP_PORT 9
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend "web-${SHOP_PORT}"
    server s1 "127.0.0.1:${SHOP_PORT}"
    server s2 "127.0.0.1:${UNSET_PORT-8200}" "${WORDS[*]}"
    server s3 127.0.0.1:8300 cookie "$SHOP_PORT\$x" maxconn "$SHOP_PORT"
    server "s-${.LINE}" 127.0.0.1:8400 cookie '${.LINE}'
`,
	"values that look like options": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend web
    cookie check insert
    server s1 127.0.0.1:1 cookie disabled id 77 rise 1 fall 2
    server s2 127.0.0.1:2 cookie check source 127.0.0.1 check port 9 addr 127.0.0.2
    server s3 127.0.0.1:3 cookie backup error-limit 4 observe layer4 check on-marked-down shutdown-sessions
    server s4 127.0.0.1:4 track web/s2 slowstart 5s send-proxy
    server s5 127.0.0.1:5 agent-check agent-port 9 agent-send disabled agent-inter 1h
    server s6 127.0.0.1:6 redir http://check check
`,
	"algorithms": `
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    balance hdr(host)
backend inherited
    server s1 127.0.0.1:1
backend uri
    balance uri depth 3 whole
    hash-type consistent djb2 avalanche
    server s1 127.0.0.1:1
backend source
    balance source
    hash-type map-based
    server s1 127.0.0.1:1
backend url_param
    balance url_param session check_post
    server s1 127.0.0.1:1
backend random
    balance random(3)
    server s1 127.0.0.1:1
backend rdp
    mode tcp
    balance rdp-cookie(mstshash)
    server s1 127.0.0.1:1
backend first
    balance first
    server s1 127.0.0.1:1 maxconn 3
backend hash
    balance hash path,lower
    server s1 127.0.0.1:1
`,
	"other sections around": `
userlist people
    user joe insecure-password server
peers mates
    bind {{BIND1}}
    default-server weight 3
    server me
    server other 127.0.0.1:9
resolvers dns
    nameserver local 127.0.0.1:53
    parse-resolv-conf
cache small
    total-max-size 1
mailers post
    mailer m1 127.0.0.1:25
http-errors pages
ring log
    size 65536
    timeout connect 1s
    timeout server 1s
    server remote 127.0.0.1:514
defaults
      mode http
      timeout connect 1s
      timeout client 1s
      timeout server 1s
	backend indented
	server s1 127.0.0.1:1 resolvers dns init-addr last,libc,none
fcgi-app php
    docroot /srv
backend last
    stick-table type ip size 1k peers mates
    server s1 127.0.0.1:1
`,
	"switched off": `
defaults off
    mode http
    disabled
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend asleep
    server s1 127.0.0.1:1
backend awake
    enabled
    server s1 127.0.0.1:1
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend off
    disabled
    server s1 127.0.0.1:1
backend on
    option redispatch
    no option redispatch
    default-server disabled
    server s1 127.0.0.1:1 weight 0
    server s2 127.0.0.1:2 weight 256
`,
}

// What ReadConfig finds has to be what HAProxy makes of the same file.
func TestConfigurationsAreReadAsHAProxyDoes(t *testing.T) {
	harness.Need(t, "haproxy")
	for name, style := range styles {
		t.Run(name, func(t *testing.T) {
			rig := harness.ForTest(t)
			style = strings.NewReplacer("{{BIND1}}", "127.0.0.1:"+port(t, rig), "{{BIND2}}", "127.0.0.1:"+port(t, rig)).Replace(style)
			h, err := rig.StartHAProxy("haproxy", "global\n    stats socket {{SOCK}} mode 600 level admin\n"+style)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := haproxy.ReadConfig(rig.Path("haproxy.cfg"))
			if err != nil {
				t.Fatal(err)
			}
			sock, ok := cfg.Sockets[0].Dial()
			if len(cfg.Sockets) != 1 || !ok || sock != "unix:"+h.Socket || cfg.Sockets[0].Level != "admin" || cfg.Sockets[0].Mode != "600" {
				t.Errorf("sockets: %+v", cfg.Sockets)
			}
			want, got := running(t, h, cfg), read(cfg)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("the configuration read differs from the running one (-running +read):\n%s", d)
			}
		})
	}
}

// facts are what both sides know of a server or backend, as text.
type facts map[string]string

func read(cfg *haproxy.Config) facts {
	out := facts{}
	for _, b := range cfg.Backends {
		if b.Disabled {
			out[b.Name] = "disabled"
		} else {
			out[b.Name] = b.Mode + " " + strings.TrimPrefix(b.Balance, "random") // which 2.6 does not tell
		}
		for _, s := range b.Servers {
			addr := net.JoinHostPort(s.Host, fmt.Sprint(s.Port))
			switch {
			case strings.HasPrefix(s.Host, "/") || s.Host == "x":
				addr = ""
			case s.Host == "":
				addr = net.JoinHostPort("0.0.0.0", fmt.Sprint(s.Port))
			}
			addr = strings.Replace(addr, "localhost:", "127.0.0.1:", 1)
			fact := fmt.Sprintf("%s weight=%d disabled=%v check=%v", addr, s.Weight, s.Disabled, s.Check)
			if !b.Disabled { // the statistics leave these out
				fact += fmt.Sprintf(" backup=%v maxconn=%d cookie=%q", s.Backup, s.MaxConn, s.Cookie)
			}
			out[b.Name+"/"+s.Name] = fact
		}
	}
	return out
}

// running asks the running HAProxy: by the client for what it reads, by the raw statistics for the rest.
func running(t *testing.T, h *harness.HAProxy, cfg *haproxy.Config) facts {
	t.Helper()
	text, err := h.Command("show servers state")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 20 && f[0] != "#" {
			names[f[1]] = true
		}
	}
	var list []string
	for n := range names {
		// A ring or peers section with servers is a proxy inside HAProxy, but not a backend.
		isOther := slices.ContainsFunc(cfg.Sections, func(s haproxy.Section) bool { return s.Name == n && (s.Kind == "ring" || s.Kind == "peers") })
		if !strings.HasPrefix(n, "<") && !isOther {
			list = append(list, n)
		}
	}
	state := observe(t, client(t, haproxy.Options{Addr: "unix:" + h.Socket}), list...)
	stats := statistics(t, h)
	out := facts{}
	for _, n := range list {
		b := state.Backends[n]
		if b.Disabled {
			out[n] = "disabled"
		} else {
			out[n] = stats[n+"/BACKEND"]["mode"] + " " + strings.TrimPrefix(b.Algorithm, "random")
		}
		for _, s := range b.Servers {
			addr := strings.Replace(s.Addr, ":100", ":0", 1) // a relative port, which stands for many
			fact := fmt.Sprintf("%s weight=%d disabled=%v check=%v", addr, s.InitialWeight, s.Admin.FromConfig(), s.CheckConfigured)
			if !b.Disabled {
				row := stats[n+"/"+s.Name]
				fact += fmt.Sprintf(" backup=%v maxconn=%d cookie=%q", row["bck"] == "1", s.MaxConn, row["cookie"])
			}
			out[n+"/"+s.Name] = fact
		}
	}
	return out
}

// statistics reads the whole CSV, by proxy/server and column.
func statistics(t testing.TB, h *harness.HAProxy) map[string]map[string]string {
	t.Helper()
	text, err := h.Command("show stat -1 6 -1")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# "))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, column := range rows[0] {
			m[column] = row[i]
		}
		out[m["pxname"]+"/"+m["svname"]] = m
	}
	return out
}

// A server's cookie may hold any word, so random words show whether both cut lines alike.
func TestWordsAreCutAsHAProxyDoes(t *testing.T) {
	harness.Need(t, "haproxy")
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	bare := []string{"a", "Z", "9", ".", "-", "$", "${", "}", "\\ ", "\\#", "\\\\", "\\'", "\\\"", "\\$", "\\q", "\\x41", "\\x22", "%[x]", "!", "é"}
	double := append([]string{"'", " ", "#", "$A", "${A}", "${NO-d}", "${A-d}", "${.LINE}"}, bare[:5]...)
	double = append(double, bare[7:]...)
	single := []string{"\"", " ", "#", "$A", "\\", "\\x41", "\\'"[:1], "b", "{"}
	word := func() string {
		var b strings.Builder
		b.WriteString("w") // never an empty cookie, which HAProxy refuses
		for range 1 + rng.IntN(3) {
			part := func(from []string) string {
				var p strings.Builder
				for range rng.IntN(6) {
					p.WriteString(pick(from))
				}
				return p.String()
			}
			switch rng.IntN(3) {
			case 0:
				b.WriteString(part(bare))
			case 1:
				b.WriteString(`"` + part(double) + `"`)
			case 2:
				b.WriteString(`'` + part(single) + `'`)
			}
		}
		return b.String()
	}
	var cfg strings.Builder
	cfg.WriteString("global\n    stats socket {{SOCK}} mode 600 level admin\n    setenv A v1\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\nbackend web\n")
	for i := range 400 {
		fmt.Fprintf(&cfg, "    server s%d 127.0.0.1:9 cookie %s weight 3\n", i, word())
	}
	rig := harness.ForTest(t)
	h, err := rig.StartHAProxy("haproxy", cfg.String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := haproxy.ReadConfig(rig.Path("haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	stats := statistics(t, h)
	wrong := 0
	for _, s := range got.Backends[0].Servers {
		if running := stats["web/"+s.Name]; running["cookie"] != s.Cookie || s.Weight != 3 {
			if wrong++; wrong <= 10 {
				t.Errorf("line %d: HAProxy reads %q, ReadConfig %q (weight %d)", s.Line, running["cookie"], s.Cookie, s.Weight)
			}
		}
	}
	if len(got.Backends[0].Servers) != 400 {
		t.Errorf("%d servers", len(got.Backends[0].Servers))
	}
}
