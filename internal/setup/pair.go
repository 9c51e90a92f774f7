package setup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/nginxgen"
)

// nginxFile is where a generated file goes, one for the http block and one for the stream block.
type nginxFile struct {
	// include is its path; needLine is false when a pattern of the block matches it already.
	include  string
	needLine bool
}

// upstreamName tells whether a name is what nginx's include and tidegate's configuration both allow.
func upstreamName(name string) bool { return nameRE.MatchString(name) && !strings.Contains(name, ":") }

// readNginx notes the upstreams and finds the places for the include files.
func (s *site) readNginx(r *nginxReader, isDir func(string) bool) {
	s.conf = r
	s.nginx = map[string]nginxFile{
		"http":   placeInclude("http", s.o.NginxInclude, filepath.Join(filepath.Dir(s.o.Nginx), upstreamsName), r.includes, isDir),
		"stream": placeInclude("stream", s.o.NginxStreamInclude, filepath.Join(filepath.Dir(s.o.Nginx), streamName), r.includes, isDir),
	}
	s.upstreams = r.upstreams
	s.problems = append(s.problems, r.problems...)
	for _, u := range s.upstreams {
		u.own = sameFile(u.real, s.nginx[u.context].include)
		if !u.own && u.bad == "" && nginxgen.Written(r.texts[u.File]) {
			u.bad = "tidegate wrote it, and its include file is to be another one now; say " + map[bool]string{false: "--nginx-include ", true: "--nginx-stream-include "}[u.Stream()] + u.real
		}
		s.problems = append(s.problems, u.traps...)
	}
}

// placeInclude chooses the least work: the file that is asked for, else a folder of which nginx reads all files anyway, in
// the block and nowhere else, else the usual file with a line for it.
func placeInclude(block, asked, usual string, includes []includeLine, isDir func(string) bool) nginxFile {
	// read counts the includes that match a file, in the block and elsewhere.
	read := func(file string) (within, elsewhere int) {
		for _, inc := range includes {
			switch ok, err := filepath.Match(inc.pattern, file); {
			case err != nil || !ok:
			case inc.within(block):
				within++
			default:
				elsewhere++
			}
		}
		return within, elsewhere
	}
	if asked != "" {
		n, _ := read(asked)
		return nginxFile{include: asked, needLine: n == 0}
	}
	for _, inc := range includes {
		dir := filepath.Dir(inc.pattern)
		file := filepath.Join(dir, filepath.Base(usual))
		if !inc.within(block) || strings.ContainsAny(dir, "*?[") || !plainPath(dir) || !isDir(dir) {
			continue
		}
		if n, other := read(file); n == 1 && other == 0 {
			return nginxFile{include: file}
		}
	}
	return nginxFile{include: usual, needLine: true}
}

// pair finds the backend of each upstream: the one with the same servers, the one of the same name first; or the one of the
// same name when the upstream has some of its servers and no others. It says why the others are left.
func (s *site) pair() {
	for pass := range 3 {
		for _, u := range s.httpFirst() {
			for _, b := range s.taken() {
				named, same, part := strings.EqualFold(b.Name, u.Name), u.sameServers(b), u.partOf(b)
				fits := pass == 0 && named && same || pass == 1 && named && part || pass == 2 && same
				if fits && b.upstream == nil && u.app == nil && u.takeable() == "" && u.clash(b) == "" && s.nameTaken(u) == "" {
					b.take(u)
				}
			}
		}
	}
}

// take pairs the two, unless the generated block would not be accepted.
func (b *backend) take(u *upstream) {
	b.upstream, u.app = u, b
	if _, err := nginxgen.Render(nginxgen.Model{Upstreams: []nginxgen.Upstream{b.web()}}); err != nil {
		b.upstream, u.app, u.why = nil, nil, err.Error()
	}
}

func (s *site) whyLeft(u *upstream) string {
	if u.why != "" {
		return u.why
	}
	if u.bad != "" {
		return u.bad
	}
	if why := s.nameTaken(u); why != "" {
		return why
	}
	for _, b := range s.taken() {
		same := u.sameServers(b) || strings.EqualFold(b.Name, u.Name) && u.partOf(b)
		switch {
		case same && u.takeable() != "":
			return u.takeable()
		case same && u.clash(b) != "":
			return u.clash(b)
		case same:
			return fmt.Sprintf("backend %s is paired with upstream %s already, and an app has one upstream", b.Name, b.upstream.Name)
		}
	}
	for _, v := range u.Servers {
		if v.unknown != "" {
			return fmt.Sprintf("its server %.80q %s", v.Address, v.unknown)
		}
	}
	for _, b := range s.taken() {
		if strings.EqualFold(b.Name, u.Name) {
			return fmt.Sprintf("it has the name of backend %s but other servers (%s is not among the backend's), so its requests would go elsewhere", b.Name, u.stranger(b))
		}
	}
	return "no backend that is taken has the same servers"
}

// httpFirst are the upstreams with those of http before those of stream.
func (s *site) httpFirst() []*upstream {
	out := slices.Clone(s.upstreams)
	slices.SortStableFunc(out, func(a, b *upstream) int { return strings.Compare(a.context, b.context) })
	return out
}

// stranger is the first server that is neither the backend's nor a spare, "" when there is none.
func (u *upstream) stranger(b *backend) string {
	for _, m := range u.members() {
		if !m.spare() && b.at(m.at) == nil {
			return m.Address
		}
	}
	return ""
}

// clash says which of the backend's servers is a backup here, "" for none: tidegate cannot steer it in HAProxy alone.
func (u *upstream) clash(b *backend) string {
	for _, m := range u.members() {
		if m.Backup && !m.Down && b.at(m.at) != nil {
			return fmt.Sprintf("its server %.80q is a backup here, and one of those that serve in %s %s", m.Address, b.Kind, b.Name)
		}
	}
	return ""
}

// shared counts the backend's servers in the upstream.
func (u *upstream) shared(b *backend) (n int) {
	for _, m := range u.members() {
		if b.at(m.at) != nil {
			n++
		}
	}
	return n
}

func (u *upstream) partOf(b *backend) bool { return u.shared(b) > 0 && u.stranger(b) == "" }

func (u *upstream) sameServers(b *backend) bool {
	return u.partOf(b) && u.shared(b) == len(b.servers)
}

func (b *backend) at(addr string) *server {
	for i := range b.servers {
		if b.servers[i].at == addr {
			return &b.servers[i]
		}
	}
	return nil
}
