package haproxyconf

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"text/template"
)

// Variants of the files.
const (
	Variant26 = "2.6"
	Variant30 = "3.0"
)

// Backend is a backend to observe, with its servers as HAProxy calls them.
type Backend struct {
	Name    string
	Servers []string
}

// Params say what to write. All names and paths are checked; see Render.
type Params struct {
	// Variant is Variant26 (2.6 and later) or Variant30 (3.0 and later); Variant26 when empty.
	Variant  string
	Backends []Backend
	// SPOAAddr is the agent's address as HAProxy sees it: unix@/path (inside HAProxy's chroot, if it has one) or a loopback
	// IP:port.
	SPOAAddr string
	// SPOEFile is the path under which HAProxy will find the SPOE file.
	SPOEFile string
	// HeartbeatAddr is where HAProxy sends heartbeats to itself: abns@name or a loopback IP:port. When empty, an abns name
	// made from SPOEFile, so that two HAProxys of one host do not meet. (3.1.0 cannot check an abns address: use a port.)
	HeartbeatAddr string
	// Prefix begins the name of every section and variable, "tidegate" when empty: a small letter, then up to 23 small
	// letters and digits.
	Prefix string
	// Track is the stick counter to use: sc0, sc1 or sc2 (when empty). The user's file must not track anything else with it
	// for the requests of observed backends.
	Track string
	// Sample is the percentage of answered requests whose times are sent, chosen by HAProxy's clock, 1 to 100 (when 0). The counters
	// are exact at any; with less than 100, one more counts the servers' answers ("answered").
	Sample int
	// Arrivals adds a message at each request's arrival, so that the agent knows the age of every open request. It is a
	// second exchange per request, and needs the times of all requests: Sample must be 100. The backend's lines stay the same.
	Arrivals bool
	// IDs gives each request an id of its own, for log formats: txn.tidegate_id. The agent has no use for it, and it costs
	// HAProxy an eighth of what the filter costs it. With Arrivals there is one anyway.
	IDs bool
}

// Files are the texts to put in place.
type Files struct {
	// Include goes to a file that HAProxy loads after the user's, with a second -f.
	Include string
	// SPOE goes to Params.SPOEFile.
	SPOE string
	// BackendLines goes into each observed backend, best right after its first line. They begin with a line
	// "# tidegate begin" and end with "# tidegate end".
	BackendLines string
}

const (
	maxBackends = 1000
	maxServers  = 1000
	// A heartbeat message names at most serversPerMessage servers (HAProxy counts arguments in one byte), and the messages of
	// one engine travel in one frame, which HAProxy drops when it is larger than its buffer (16 kB by default).
	serversPerMessage = 60
	bytesPerEngine    = 8000
	maxKeyLen         = 64
	// A request is sampled when the microsecond of HAProxy's clock, taken modulo sampleOf, is below the percentage of it. That
	// clock stands still during a turn of HAProxy's loop, so that the requests of one turn go to the agent in one piece. Being a
	// prime, it gives each in turn to clients with a period: at common ones (1 ms, 10 ms, 1/60 s) no gap is longer than 8 times
	// the mean. With a hundred, all or none of the requests of a client that sends one each millisecond would be chosen.
	sampleOf = 593
)

var (
	//go:embed templates
	templateFiles embed.FS
	templates     = template.Must(template.ParseFS(templateFiles, "templates/*"))

	nameRule   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._:-]{0,63}$`)
	prefixRule = regexp.MustCompile(`^[a-z][a-z0-9]{0,23}$`)
	pathRule   = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)
	abnsRule   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,80}$`)
	trackRule  = regexp.MustCompile(`^sc[0-2]$`)
)

// engine is one SPOE engine of the heartbeat: one frame per beat.
type engine struct {
	Name     string
	Messages []message
}

// message carries one backend's gauges, or only further servers of a backend that has too many for one message.
type message struct {
	Name, Backend string
	Gauges        bool
	Servers       []string
}

type view struct {
	Params
	TrackNumber string
	KeyLen      int
	// SampleBelow of SampleOf are chosen.
	SampleBelow, SampleOf int
	TableSize             int
	HoleAddr              string
	Engines               []engine
}

// Render writes the three texts. It refuses, with one sentence, any name, path or address that is not made of the
// characters allowed, no backends, more than 1000 of them or of servers in one, and doubles.
func Render(p Params) (Files, error) {
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return Files{}, fmt.Errorf("render the HAProxy files: %w", err)
	}
	v := view{Params: p, TrackNumber: p.Track[2:], KeyLen: maxKeyLen, SampleBelow: (p.Sample*sampleOf + 50) / 100, SampleOf: sampleOf, TableSize: tableSize(len(p.Backends)), Engines: p.engines(), HoleAddr: p.abstract("hole")}
	var f Files
	for _, part := range []struct {
		to   *string
		name string
	}{{&f.Include, "tidegate.cfg"}, {&f.SPOE, "tidegate-spoe.conf"}, {&f.BackendLines, "backend-lines.cfg"}} {
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, part.name, v); err != nil {
			return Files{}, fmt.Errorf("render %s: %w", part.name, err)
		}
		*part.to = b.String()
	}
	return f, nil
}

func (p Params) withDefaults() Params {
	for _, d := range []struct {
		to  *string
		def string
	}{{&p.Variant, Variant26}, {&p.Prefix, "tidegate"}, {&p.Track, "sc2"}} {
		if *d.to == "" {
			*d.to = d.def
		}
	}
	if p.Sample == 0 {
		p.Sample = 100
	}
	if p.HeartbeatAddr == "" {
		p.HeartbeatAddr = p.abstract("heartbeat")
	}
	return p
}

// abstract is the address of a socket without a file, the same for the same SPOE file.
func (p Params) abstract(what string) string {
	sum := sha256.Sum256([]byte(p.SPOEFile))
	return fmt.Sprintf("abns@%s-%s-%x", p.Prefix, what, sum[:6])
}

func (p Params) check() error {
	switch {
	case p.Variant != Variant26 && p.Variant != Variant30:
		return fmt.Errorf("variant %.40q: it is %q or %q", p.Variant, Variant26, Variant30)
	case !prefixRule.MatchString(p.Prefix):
		return fmt.Errorf("prefix %.40q: it is a small letter and up to 23 small letters and digits", p.Prefix)
	case !trackRule.MatchString(p.Track):
		return fmt.Errorf("stick counter %.40q: it is sc0, sc1 or sc2", p.Track)
	case p.Sample < 1 || p.Sample > 100:
		return fmt.Errorf("sample %d: it is a percentage from 1 to 100", p.Sample)
	case p.Arrivals && p.Sample < 100:
		return fmt.Errorf("arrivals with a sample of %d %%: a request is known to be open until its answer is told, so that all must be; leave out one of the two", p.Sample)
	case !validPath(p.SPOEFile):
		return fmt.Errorf("SPOE file %.120q: it is an absolute path of letters, digits and . _ - /", p.SPOEFile)
	}
	if err := checkAddr(p.SPOAAddr, "unix@", validPath); err != nil {
		return fmt.Errorf("agent address %.120q: %w", p.SPOAAddr, err)
	}
	if err := checkAddr(p.HeartbeatAddr, "abns@", abnsRule.MatchString); err != nil {
		return fmt.Errorf("heartbeat address %.120q: %w", p.HeartbeatAddr, err)
	}
	return p.checkBackends()
}

func (p Params) checkBackends() error {
	if len(p.Backends) == 0 || len(p.Backends) > maxBackends {
		return fmt.Errorf("%d backends: it is 1 to %d", len(p.Backends), maxBackends)
	}
	seen := map[string]bool{}
	for _, b := range p.Backends {
		switch {
		case !nameRule.MatchString(b.Name):
			return fmt.Errorf("backend %.80q: a name is 1 to 64 letters, digits and . _ : -, and does not begin with a sign but _", b.Name)
		case seen[b.Name]:
			return fmt.Errorf("backend %s is given twice", b.Name)
		case len(b.Servers) > maxServers:
			return fmt.Errorf("backend %s has %d servers: at most %d are supported", b.Name, len(b.Servers), maxServers)
		}
		seen[b.Name] = true
		servers := map[string]bool{}
		for _, s := range b.Servers {
			switch {
			case !nameRule.MatchString(s):
				return fmt.Errorf("server %.80q of backend %s: a name is 1 to 64 letters, digits and . _ : -, and does not begin with a sign but _", s, b.Name)
			case servers[s]:
				return fmt.Errorf("server %s of backend %s is given twice", s, b.Name)
			}
			servers[s] = true
		}
	}
	return nil
}

func validPath(s string) bool {
	return len(s) <= 200 && pathRule.MatchString(s) && !strings.Contains(s+"/", "/../")
}

// checkAddr takes scheme followed by a name, or a loopback IP:port.
func checkAddr(addr, scheme string, valid func(string) bool) error {
	if name, ok := strings.CutPrefix(addr, scheme); ok && valid(name) {
		return nil
	}
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is4() && ap.Addr().IsLoopback() && ap.Port() != 0 {
		return nil
	}
	return fmt.Errorf("it is %s and a name or path of letters, digits and . _ -, or 127.0.0.1:port", scheme)
}

// engines shares the backends out to messages, and the messages to engines, each small enough.
func (p Params) engines() []engine {
	var engines []engine
	size := bytesPerEngine + 1
	number := 0
	add := func(m message) {
		number++
		m.Name = fmt.Sprintf("tidegate-heartbeat-%d", number)
		bytes := m.size()
		if size+bytes > bytesPerEngine {
			name := p.Prefix + "-heartbeat"
			if len(engines) > 0 {
				name = fmt.Sprintf("%s-%d", name, len(engines)+1)
			}
			engines, size = append(engines, engine{Name: name}), 0
		}
		size += bytes
		last := &engines[len(engines)-1]
		last.Messages = append(last.Messages, m)
	}
	for _, b := range p.Backends {
		rest := b.Servers
		for first := true; first || len(rest) > 0; first = false {
			n := min(len(rest), serversPerMessage)
			add(message{Backend: b.Name, Gauges: first, Servers: rest[:n]})
			rest = rest[n:]
		}
	}
	return engines
}

// size is the most bytes the message can take in a frame.
func (m message) size() int {
	n := len(m.Name) + 3 + 24 + len(m.Backend) + 8 + 7*20
	for _, s := range m.Servers {
		n += len(s) + 12
	}
	return n
}

// tableSize leaves room for backends that come with a reload, and for HAProxy's habit of evicting from full tables.
func tableSize(backends int) int {
	size := 64
	for size < 4*backends {
		size *= 2
	}
	return size
}
