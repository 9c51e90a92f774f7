package setup

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/tidegate/tidegate/haproxy"
)

const beginMark, endMark = "# tidegate begin", "# tidegate end"

var (
	//go:embed templates
	templateFiles embed.FS
	templates     = template.Must(template.New("").Funcs(template.FuncMap{
		"quote": strconv.Quote, "dir": filepath.Dir, "base": filepath.Base, "join": strings.Join, "shown": shown,
		"step": func() int { return 0 }, // render puts a counter in its place
	}).ParseFS(templateFiles, "templates/*"))
)

// view is what the templates see.
type view struct {
	Options
	Chroot, Group, Listen string
	Socket, SocketAdvice  string
	Backends              []*backend
	Nodes                 []node
	Node                  any
	Managed, Middleware   bool
	// Proxied are the backends that are HAProxy's.
	Proxied []*backend
	// Web is true when nginx takes part, Changes are what has to be changed in its files, Includes where its include files go.
	Web               bool
	Includes          []include
	Changes           []change
	Undo              []string // the commands that take changes back
	SPOE, Cfg, Config string
	Marked, Installed bool
	// RealHAProxy is haproxy.cfg with symbolic links followed: sed would replace a link.
	RealHAProxy string
	// Errors are the problems of that severity, with their places.
	Errors []string
}

// view is what holds for every template.
func (s *site) view() view {
	v := view{
		Options: s.o, Chroot: s.global.chroot, Group: s.global.group, Socket: s.global.socket, SocketAdvice: s.global.advice, Listen: s.listenSocket(),
		Backends: s.taken(), Nodes: s.nodes(), Managed: s.managed(), Middleware: s.o.Middleware != "",
		Proxied: s.proxied(), Includes: s.includes(),
		SPOE: filepath.Join(s.o.HAProxyDir, spoeName), Cfg: filepath.Join(s.o.HAProxyDir, includeName),
		Config: filepath.Join(s.o.Out, configName),
		Web:    s.web(), Installed: s.o.HAProxyDir == s.o.Out, RealHAProxy: followed(s.o.HAProxy),
	}
	if v.Web {
		v.Changes = s.changes()
		for _, c := range v.Changes {
			if c.SedUndo != "" && !slices.Contains(v.Undo, c.SedUndo) {
				v.Undo = append(v.Undo, c.SedUndo)
			}
		}
	}
	for _, b := range s.taken() {
		v.Marked = v.Marked || len(b.Tidegate) > 0
	}
	for _, p := range s.problems {
		if p.severity == haproxy.Error {
			v.Errors = append(v.Errors, p.place+": "+p.text)
		}
	}
	return v
}

func (v view) render(name string) (string, error) {
	var b strings.Builder
	steps := 0
	numbered := template.Must(templates.Clone()).Funcs(template.FuncMap{"step": func() int { steps++; return steps }})
	if err := numbered.ExecuteTemplate(&b, name, v); err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	return b.String(), nil
}

// web tells whether nginx takes part.
func (s *site) web() bool {
	return slices.ContainsFunc(s.taken(), func(b *backend) bool { return b.upstream != nil })
}

// include is a generated file: Block is the block that reads it, From where it is written and To where it goes. NeedLine
// tells that the block needs a line for it.
type include struct {
	Block, From, To string
	NeedLine        bool
}

// includes are the generated files that there is an upstream for, http before stream.
func (s *site) includes() (out []include) {
	for _, inc := range []include{{Block: "http", From: upstreamsName}, {Block: "stream", From: streamName}} {
		if slices.ContainsFunc(s.taken(), func(b *backend) bool { return b.upstream != nil && b.upstream.context == inc.Block }) {
			inc.From, inc.To, inc.NeedLine = filepath.Join(s.o.Out, inc.From), s.nginx[inc.Block].include, s.nginx[inc.Block].needLine
			out = append(out, inc)
		}
	}
	return out
}

// followed is the path without symbolic links, or the path itself when that cannot be said or written in a command.
func followed(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil && plainPath(real) {
		return real
	}
	return path
}

func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(fa, fb)
}

// backendLines is the text for people who edit by hand.
func (s *site) backendLines() string {
	var t strings.Builder
	fmt.Fprintf(&t, "# What to add to %s, by hand or with %s. The lines are the same for each backend.\n", s.o.HAProxy, insertName)
	for _, b := range s.proxied() {
		fmt.Fprintf(&t, "\n# Right after line %d, \"%s %s\":\n%s", b.Line, b.Kind, b.Name, s.lines)
	}
	return t.String()
}

// insertScript is a script for sed that takes tidegate's lines out and puts them (back) in, so it may be run twice.
func (s *site) insertScript() string {
	var t strings.Builder
	fmt.Fprintf(&t, "# sed -i -f THIS-FILE %s\n/^[[:space:]]*%s$/,/^[[:space:]]*%s$/d\n", s.o.HAProxy, beginMark, endMark)
	for _, b := range s.proxied() {
		fmt.Fprintf(&t, "%s a\\\n", s.address(b))
		lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(s.lines, `\`, `\\`), "\n"), "\n")
		t.WriteString(strings.Join(lines, "\\\n") + "\n")
	}
	return t.String()
}

// bre takes the meaning from the characters that have one in sed's patterns.
var bre = strings.NewReplacer(`\`, `\\`, `.`, `\.`, `*`, `\*`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `$`, `\$`, `/`, `\/`)

// address is sed's address of the backend's first line, good also when lines were added above: a pattern for the usual ways
// to write it, or the line itself.
func (s *site) address(b *backend) string {
	name := strings.ReplaceAll(b.Name, ".", `\.`)
	pattern := regexp.MustCompile(`^[[:space:]]*` + b.Kind + `[[:space:]]+["']?` + name + `["']?([[:space:]#].*)?$`)
	n := 0
	for i, line := range s.text {
		if pattern.MatchString(line) {
			n++
			if i+1 != b.Line {
				n++
			}
		}
	}
	if n != 1 {
		return "/^" + bre.Replace(s.text[b.Line-1]) + "$/"
	}
	return `/^[[:space:]]*` + b.Kind + `[[:space:]][[:space:]]*["']\{0,1\}` + name + `["']\{0,1\}\([[:space:]#].*\)\{0,1\}$/`
}

// report says what was found.
func (s *site) report() string {
	var t strings.Builder
	if s.o.HAProxy != "" {
		found := slices.DeleteFunc(slices.Clone(s.backends), func(b *backend) bool { return b.WebOnly })
		fmt.Fprintf(&t, "%s: %s, %d taken\n", s.o.HAProxy, count(len(found), "backend"), len(s.proxied()))
		for _, b := range found {
			s.reportBackend(&t, b)
		}
	}
	if s.o.Nginx != "" {
		s.reportNginx(&t)
	}
	if s.o.HAProxy != "" && s.global.advice != "" {
		fmt.Fprintf(&t, "\nThere is no stats socket that tidegate can use as it is; %s names %s. %s\n", configName, s.global.socket, s.global.advice)
	}
	if len(s.problems) == 0 {
		t.WriteString("\nNo problems.\n")
		return t.String()
	}
	t.WriteString("\nProblems (an error keeps tidegate from doing its work, a warning makes it work less well):\n")
	for _, p := range s.problems {
		fmt.Fprintf(&t, "  %-8s %s: %s\n", p.severity, p.place, p.text)
	}
	return t.String()
}

func (s *site) reportBackend(t *strings.Builder, b *backend) {
	verdict := "take "
	if b.why != "" {
		verdict = "leave"
	}
	fmt.Fprintf(t, "  %s  %s %s (line %d): mode %s, balance %s, %s\n", verdict, b.Kind, b.Name, b.Line, b.Mode, b.Balance, count(len(b.Servers), "server"))
	if b.why != "" {
		fmt.Fprintf(t, "         because: %s\n", b.why)
		return
	}
	b.reportServers(t)
	for _, l := range b.left {
		fmt.Fprintf(t, "         left alone: %s\n", l)
	}
	fmt.Fprintf(t, "         strategy %s%s\n", b.Strategy, because(b.because))
	if b.upstream != nil {
		fmt.Fprintf(t, "         with nginx upstream %s\n", b.upstream.Name)
		b.reportSpares(t)
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ", because " + why
}

func (b *backend) reportServers(t *strings.Builder) {
	for _, v := range b.servers {
		role := "serves now"
		switch {
		case v.AlwaysUp:
			role = "always up"
		case v.Disabled:
			role = "disabled, a slot to grow into"
		}
		if v.at != v.Address {
			role += ", at " + v.at + " now"
		}
		fmt.Fprintf(t, "         server %s %s (%s)\n", v.Name, v.Address, role)
	}
}

// reportSpares lists what tidegate writes into the upstream and never touches.
func (b *backend) reportSpares(t *strings.Builder) {
	for _, l := range b.Lines() {
		switch {
		case l.Down:
			fmt.Fprintf(t, "         server %s %s (down, and stays so)\n", l.Name, l.Address)
		case l.Backup:
			fmt.Fprintf(t, "         server %s %s (a backup, and stays one)\n", l.Name, l.Address)
		}
	}
}

func (s *site) reportNginx(t *strings.Builder) {
	if s.o.HAProxy != "" {
		t.WriteByte('\n')
	}
	n := 0
	for _, u := range s.upstreams {
		if u.app != nil {
			n++
		}
	}
	fmt.Fprintf(t, "%s: %s, %d taken\n", s.conf.name(), count(len(s.upstreams), "upstream"), n)
	for _, u := range s.upstreams {
		s.reportUpstream(t, u)
	}
	if !s.web() {
		fmt.Fprintf(t, "  so nginx is left alone: no include file is written and %s does not speak of nginx\n", configName)
	}
}

func (s *site) reportUpstream(t *strings.Builder, u *upstream) {
	verdict := "take "
	if u.why != "" {
		verdict = "leave"
	}
	var addrs []string
	for i, v := range u.Servers {
		if i == 8 {
			addrs = append(addrs, "...")
			break
		}
		addrs = append(addrs, shown(v.Address))
	}
	what := "upstream"
	if u.Stream() {
		what = "stream upstream"
	}
	fmt.Fprintf(t, "  %s  %s %s (%s): %s\n", verdict, what, shown(u.Name), shown(u.place()), strings.Join(addrs, ", "))
	if u.why != "" {
		fmt.Fprintf(t, "         because: %s\n", u.why)
		return
	}
	if b := u.app; b.WebOnly {
		b.reportServers(t)
		b.reportSpares(t)
		fmt.Fprintf(t, "         strategy %s%s\n", b.Strategy, because(b.because))
	}
	if slices.ContainsFunc(u.Servers, func(v webServer) bool { return v.Weight != 1 }) {
		t.WriteString("         its own weights hold until tidegate changes something, then weights are the ready workers\n")
	}
	if u.hashes() {
		fmt.Fprintf(t, "         with %s each change of a weight moves keys, the first one too\n", shown(u.Method))
	}
	if lost := u.lost(); len(lost) > 0 {
		fmt.Fprintf(t, "         will be lost, tidegate.yaml has no place for it: %s\n", shown(strings.Join(lost, ", ")))
	}
}

// shown quotes a text of the user's files that has more than plain characters, so that a terminal is safe from it.
func shown(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return strconv.Quote(s)
	}
	return s
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	default:
		return fmt.Sprintf("%d %ss", n, what)
	}
}
