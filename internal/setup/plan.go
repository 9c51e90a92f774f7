package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/internal/names"
	"github.com/tidegate/tidegate/nginxgen"
)

// Strategies that init can write; the first is the default.
var Strategies = []string{erlang, latency, busyRatio, noop}

const erlang, latency, busyRatio, noop = "erlang", "latency", "busy_ratio", "noop"

// Options say what to read and where the result will be used.
type Options struct {
	// HAProxy is the user's haproxy.cfg, Nginx the user's nginx.conf, "" for none; one is needed.
	HAProxy, Nginx string
	// Out is the folder to write to; tidegate's own configuration is meant to stay there.
	Out string
	// Strategy is one of Strategies; "" is the first, and latency for backends that it cannot size. Variant is "2.6" or "3.0", "" for the former.
	Strategy, Variant string
	// Backends are the only ones to take; none means all that can be.
	Backends []string
	// Upstreams are the only upstreams to take as apps of their own; none means all that can be, without HAProxy, and none with it.
	Upstreams []string
	// AskNginx is the nginx program that is to confirm what was read (`nginx -T`), "" for none.
	AskNginx string
	// Arrivals makes HAProxy tell of each request's arrival too, for the age of open requests; a second exchange per request.
	Arrivals bool
	// RequestIDs gives each request an id that a log-format can show, %[var(txn.tidegate_id)].
	RequestIDs bool
	// HAProxyDir is where tidegate-spoe.conf and tidegate.cfg will be installed, "/etc/haproxy" when empty.
	HAProxyDir string
	// NginxInclude is where the include file for the http block will be installed, NginxStreamInclude the one for the stream
	// block; "" for the place that is least work for the user.
	NginxInclude, NginxStreamInclude string
	// Lookup asks for the addresses of the names in nginx's upstreams, nil for the system's resolver.
	Lookup names.Lookup
	// Token is the secret that the controller shows to node agents. Middleware is the text of tidegate_marks.py, RackMiddleware
	// that of tidegate_marks.rb. All matter only where node agents do.
	Token, Middleware, RackMiddleware string
}

// File is one file to write.
type File struct {
	Name, Text string
	Mode       fs.FileMode
}

// Plan is what init has found out and would write.
type Plan struct {
	// Report says what was found, taken and left, and the problems. Instructions is the text of README.txt.
	Report, Instructions string
	// Out is absolute.
	Out   string
	Files []File
}

// names of the files in Out.
const (
	spoeName, includeName, linesName, insertName = "tidegate-spoe.conf", "tidegate.cfg", "backend-lines.cfg", "insert.sed"
	configName, upstreamsName, readmeName        = "tidegate.yaml", "tidegate-upstreams.conf", "README.txt"
	streamName                                   = "tidegate-stream.conf"
	tokenName, marksName, rackMarksName          = "token", "tidegate_marks.py", "tidegate_marks.rb"
)

// Make reads the files and plans. Every error is about what the user has given: a flag, a file that is missing or broken, no
// backend and no upstream to take.
func Make(ctx context.Context, o Options) (*Plan, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	s, err := read(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.plan()
}

// read is the part of Make that looks at the disk.
func read(ctx context.Context, o Options) (*site, error) {
	s := newSite(o, nil, "")
	if o.HAProxy != "" {
		cfg, err := haproxy.ReadConfig(o.HAProxy)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(o.HAProxy)
		if err != nil {
			return nil, fmt.Errorf("read the HAProxy configuration: %w", err)
		}
		s = newSite(o, cfg, string(text))
	}
	if o.Nginx == "" {
		return s, nil
	}
	r, err := readNginxTree(o.Nginx)
	if err != nil {
		return nil, err
	}
	if err := r.compare(); err != nil {
		return nil, err
	}
	if o.AskNginx != "" {
		if err := r.ask(ctx, o.AskNginx); err != nil {
			return nil, err
		}
	}
	r.resolve(ctx, o.Lookup)
	r.link()
	s.readNginx(r, isDir)
	return s, nil
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// plan decides and renders; it reads nothing.
func (s *site) plan() (*Plan, error) {
	if s.o.HAProxy != "" {
		if err := s.choose(); err != nil {
			return nil, err
		}
	} else if len(s.upstreams) == 0 {
		return nil, fmt.Errorf("%s: no upstream block, so there is nothing to take over", s.conf.name())
	}
	s.pair()
	if err := s.adopt(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(s.problems, func(a, b problem) int { return strings.Compare(string(a.severity), string(b.severity)) })
	p := &Plan{Out: s.o.Out}
	add := func(name, text string) { p.Files = append(p.Files, File{Name: name, Text: text, Mode: 0o644}) }
	if s.o.HAProxy != "" {
		if err := s.addHAProxy(add); err != nil {
			return nil, err
		}
	}
	if err := s.addNginx(add); err != nil {
		return nil, err
	}
	v := s.view()
	config, err := v.render("tidegate.yaml")
	if err != nil {
		return nil, err
	}
	add(configName, config)
	if err := s.addAgents(p, v, add); err != nil {
		return nil, err
	}
	if p.Instructions, err = v.render("README.txt"); err != nil {
		return nil, err
	}
	add(readmeName, p.Instructions)
	p.Report = s.report()
	return p, nil
}

func (s *site) addHAProxy(add func(name, text string)) error {
	params := haproxyconf.Params{
		Variant: s.o.Variant, SPOAAddr: "unix@" + s.agentSocket(), SPOEFile: filepath.Join(s.o.HAProxyDir, spoeName), Track: s.track,
		Arrivals: s.o.Arrivals, IDs: s.o.RequestIDs,
	}
	for _, b := range s.proxied() {
		hb := haproxyconf.Backend{Name: b.Name}
		for _, srv := range b.servers {
			hb.Servers = append(hb.Servers, srv.Name)
		}
		params.Backends = append(params.Backends, hb)
	}
	ha, err := haproxyconf.Render(params)
	if err != nil {
		return err
	}
	s.lines = ha.BackendLines
	add(spoeName, ha.SPOE)
	add(includeName, ha.Include)
	add(linesName, s.backendLines())
	add(insertName, s.insertScript())
	return nil
}

func (s *site) addNginx(add func(name, text string)) error {
	includes := s.includes()
	if len(includes) == 2 && includes[0].To == includes[1].To {
		return fmt.Errorf("%s cannot be the include file of the http block and of the stream block; name another one with --nginx-include or --nginx-stream-include", includes[0].To)
	}
	for _, inc := range includes {
		var m nginxgen.Model
		for _, b := range s.taken() {
			if b.upstream != nil && b.upstream.context == inc.Block {
				m.Upstreams = append(m.Upstreams, b.web())
			}
		}
		text, err := nginxgen.Render(m)
		if err != nil {
			return err
		}
		add(filepath.Base(inc.From), string(text))
	}
	return nil
}

func (s *site) addAgents(p *Plan, v view, add func(name, text string)) error {
	for _, n := range v.Nodes {
		v.Node = n
		text, err := v.render("agent.yaml")
		if err != nil {
			return err
		}
		add(n.File, text)
	}
	if !s.managed() {
		return nil
	}
	if s.o.Middleware != "" {
		add(marksName, s.o.Middleware)
	}
	if s.o.RackMiddleware != "" {
		add(rackMarksName, s.o.RackMiddleware)
	}
	p.Files = append(p.Files, File{Name: tokenName, Text: s.o.Token + "\n", Mode: 0o600})
	return nil
}

func (o Options) complete() (Options, error) {
	if o.Strategy != "" && !slices.Contains(Strategies, o.Strategy) {
		return o, fmt.Errorf("--strategy %.40q is not allowed: %s", o.Strategy, strings.Join(Strategies, ", "))
	}
	switch o.Variant {
	case "":
		o.Variant = haproxyconf.Variant26
	case haproxyconf.Variant26, haproxyconf.Variant30:
	default:
		return o, fmt.Errorf("--variant %.40q is not allowed: %s or %s", o.Variant, haproxyconf.Variant26, haproxyconf.Variant30)
	}
	if o.Arrivals && o.Variant == haproxyconf.Variant26 {
		return o, fmt.Errorf("--arrivals needs the files for HAProxy %s and later (--variant %[1]s): HAProxy 2.6 can forget a timer between the two exchanges, and then a request waits for a late agent (docs/spoe.md)", haproxyconf.Variant30)
	}
	switch {
	case o.HAProxy == "" && o.Nginx == "" || o.Out == "":
		return o, errors.New("--out DIR is needed, and --haproxy FILE, --nginx FILE or both")
	case o.HAProxy == "" && (o.Strategy == erlang || o.Strategy == latency):
		return o, fmt.Errorf("--strategy %s needs --haproxy: the times of requests come from HAProxy's filter; without it %s and %s are left", o.Strategy, busyRatio, noop)
	case o.HAProxy == "" && len(o.Backends) > 0:
		return o, errors.New("--backend needs --haproxy; the upstreams to take are named by --upstream")
	case o.Nginx == "" && len(o.Upstreams) > 0:
		return o, errors.New("--upstream needs --nginx")
	}
	if o.HAProxyDir == "" {
		o.HAProxyDir = "/etc/haproxy"
	}
	for _, p := range []*string{&o.HAProxy, &o.Nginx, &o.Out, &o.HAProxyDir, &o.NginxInclude, &o.NginxStreamInclude} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return o, fmt.Errorf("find the working folder: %w", err)
		}
		if !plainPath(abs) {
			return o, fmt.Errorf("the path %.200q is not allowed: letters, digits and . _ @ + - / only, because it has to stand in other programs' files", abs)
		}
		*p = abs
	}
	return o, nil
}

func plainPath(p string) bool {
	return !strings.ContainsFunc(p, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._@+-/", r))
	})
}

var versionRE = regexp.MustCompile(`HA-?Proxy version (\d{1,4})\.(\d{1,4})`)

// Variant chooses the files by what `haproxy -v` printed. Those of 2.6 run on everything later too, so they are the answer
// when the text says nothing; an HAProxy before 2.6 is an error.
func Variant(text string) (string, error) {
	g := versionRE.FindStringSubmatch(text)
	if g == nil {
		return haproxyconf.Variant26, nil
	}
	major, _ := strconv.Atoi(g[1])
	minor, _ := strconv.Atoi(g[2])
	switch {
	case major < 2 || major == 2 && minor < 6:
		return "", fmt.Errorf("the installed HAProxy is %s.%s, and tidegate needs 2.6 or later (say --variant 2.6 to write the files anyway)", g[1], g[2])
	case major >= 3:
		return haproxyconf.Variant30, nil
	default:
		return haproxyconf.Variant26, nil
	}
}
