package haproxy

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/tests/harness"
)

// record writes the transcripts of the HAProxy at hand anew: scripts/versions.sh haproxy, then for each program
//
//	TIDEGATE_TEST_HAPROXY=PROGRAM go test ./haproxy -run TestRecord -record 3.2
var record = flag.String("record", "", "write the transcripts into testdata/`VERSION`")

const recordedConfig = `global
    stats socket {{SOCK}} mode 600 level admin
    stats socket {{DIR}}/operator.sock mode 600 level operator
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
backend dyn
    balance roundrobin
    server s1 127.0.0.1:9 weight 100 check inter 1h disabled
    server s2 127.0.0.1:9 weight 50 maxconn 7
    server s3 127.0.0.1:9 weight 100 check inter 1h
backend stat
    balance static-rr
    server a 127.0.0.1:9 weight 100
`

// scene is a turn whose answer was recorded.
type scene struct {
	name   string
	socket string
	cmds   []Command
	reads  []string
	// results are what the commands come to.
	results []string
}

// In this order each scene leaves for the next what that expects.
var scenes = []scene{
	{name: "observe.txt", reads: []string{"dyn", "stat"}},
	{name: "denied.txt", socket: "operator.sock", reads: []string{"dyn"},
		cmds:    []Command{SetState("dyn", "s1", Ready), SetWeight("dyn", "s1", 10), SetMaxConn("dyn", "s2", 9)},
		results: []string{"denied", "denied", "denied"}},
	{name: "apply.txt", reads: []string{"dyn", "nope", "stat"},
		cmds:    []Command{SetState("dyn", "s1", Ready), SetWeight("dyn", "s1", 10), SetWeight("dyn", "nope", 10), SetWeight("stat", "a", 10)},
		results: []string{"ok", "ok", "missing", "refused"}},
	{name: "steps.txt", reads: []string{"dyn"},
		cmds: []Command{SetWeight("dyn", "s3", 25), SetState("dyn", "s3", Drain), SetHealth("dyn", "s3", Down), SetState("dyn", "s3", Ready),
			SetMaxConn("dyn", "s2", 9), SetState("dyn", "s1", Maint), SetHealth("dyn", "s1", Up), SetHealth("nowhere", "s1", Up)},
		results: []string{"ok", "ok", "ok", "ok", "ok", "ok", "not_taken", "missing"}},
}

func (s scene) calls(t testing.TB) []call {
	t.Helper()
	calls, err := changeCalls(s.cmds)
	if err != nil {
		t.Fatal(err)
	}
	return append(calls, readCalls(s.reads)...)
}

// nodeName is the host's name in "show info".
var nodeName = regexp.MustCompile(`(?m)^node: .*$`)

func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("-record VERSION writes the transcripts anew")
	}
	rig := harness.ForTest(t)
	h, err := rig.StartHAProxy("haproxy", recordedConfig)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("testdata", *record)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenes {
		path := h.Socket
		if s.socket != "" {
			path = rig.Path(s.socket)
		}
		to, err := parseAddr("unix:" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := to.exchange(context.Background(), lineOf(s.calls(t)), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s.name), nodeName.ReplaceAll(text, []byte("node: lb1")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// versions are the HAProxy versions there are transcripts of.
func versions(t testing.TB) []string {
	t.Helper()
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range dirs {
		if d.IsDir() && d.Name() != "fuzz" {
			out = append(out, d.Name())
		}
	}
	for _, want := range []string{"2.6", "3.0", "3.2", "3.4"} {
		if !slices.Contains(out, want) {
			t.Fatalf("no transcripts of HAProxy %s among %v", want, out)
		}
	}
	return out
}

func recorded(t testing.TB, version, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", version, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRecordedObservationsAreRead(t *testing.T) {
	for _, version := range versions(t) {
		turn := newTurn(0)
		if err := turn.decode(scenes[0].calls(t), recorded(t, version, "observe.txt")); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got := turn.state()
		if p := got.Process; !strings.HasPrefix(p.Version, version+".") || p.PID == 0 || p.Started.Year() < 2025 || p.Stopping || !strings.Contains(p.ID, ":") {
			t.Errorf("%s: process %+v", version, p)
		}
		want := map[string]Backend{
			"dyn": {Name: "dyn", Algorithm: "roundrobin", Servers: []Server{
				{Name: "s1", Addr: "127.0.0.1:9", Admin: 5, Weight: 100, InitialWeight: 100, CheckConfigured: true, CheckEnabled: true, Status: "MAINT"},
				{Name: "s2", Addr: "127.0.0.1:9", Op: OpRunning, Weight: 50, InitialWeight: 50, MaxConn: 7, Status: "no check"},
				{Name: "s3", Addr: "127.0.0.1:9", Op: OpRunning, Weight: 100, InitialWeight: 100, CheckConfigured: true, CheckEnabled: true, Status: "UP"},
			}},
			"stat": {Name: "stat", Algorithm: "static-rr", Servers: []Server{
				{Name: "a", Addr: "127.0.0.1:9", Op: OpRunning, Weight: 100, InitialWeight: 100, Status: "no check"},
			}},
		}
		// "UP", "UP 1/3" or, of 3.4, "UP -1/3": whether the first check has come is chance.
		status := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Status" }, cmp.Comparer(func(a, b string) bool {
			return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
		}))
		if d := cmp.Diff(want, got.Backends, status, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: backends (-want +got):\n%s", version, d)
		}
	}
}

func TestRecordedAnswersToChangesAreJudged(t *testing.T) {
	for _, version := range versions(t) {
		for _, s := range scenes[1:] {
			turn := newTurn(len(s.cmds))
			if err := turn.decode(s.calls(t), recorded(t, version, s.name)); err != nil {
				t.Fatalf("%s/%s: %v", version, s.name, err)
			}
			var got []string
			for _, r := range results(s.cmds, turn.replies, turn.state(), "unix:/x") {
				got = append(got, resultWord(r.Err))
			}
			if d := cmp.Diff(s.results, got); d != "" {
				t.Errorf("%s/%s: results (-want +got):\n%s", version, s.name, d)
			}
			if slices.Contains(s.reads, "nope") && !turn.state().Backends["nope"].Missing {
				t.Errorf("%s/%s: the backend HAProxy cannot find is not marked as missing", version, s.name)
			}
		}
	}
}

// A transcript that was cut, by a time-out or a dying process, must not pass for a whole one, wherever it was cut.
func TestACutTranscriptIsNeverAccepted(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for _, s := range scenes {
				text, calls := recorded(t, version, s.name), s.calls(t)
				for n := range len(text) {
					if err := newTurn(len(s.cmds)).decode(calls, text[:n]); err == nil {
						t.Fatalf("%s: accepted with only %d of %d bytes", s.name, n, len(text))
					}
				}
				if err := newTurn(len(s.cmds)).decode(calls, text); err != nil {
					t.Fatalf("%s: the whole is refused: %v", s.name, err)
				}
				if err := newTurn(len(s.cmds)).decode(calls, append(slices.Clone(text), '\n')); err == nil {
					t.Fatalf("%s: accepted with an answer too many", s.name)
				}
			}
		})
	}
}

func FuzzTranscript(f *testing.F) {
	for _, version := range versions(f) {
		for i, s := range scenes {
			f.Add(recorded(f, version, s.name), uint8(i))
		}
	}
	f.Add([]byte("\nPid: 1\n\n"), uint8(0))
	f.Fuzz(func(t *testing.T, text []byte, which uint8) {
		s := scenes[int(which)%len(scenes)]
		calls := s.calls(t)
		turn := newTurn(len(s.cmds))
		if turn.decode(calls, text) != nil {
			return
		}
		// What is accepted can be judged, and no part of it would have been accepted.
		if got := results(s.cmds, turn.replies, turn.state(), "unix:/x"); len(got) != len(s.cmds) {
			t.Fatalf("%d results for %d commands", len(got), len(s.cmds))
		}
		for n := range len(text) {
			if newTurn(len(s.cmds)).decode(calls, text[:n]) == nil {
				t.Fatalf("accepted with %d of %d bytes", n, len(text))
			}
		}
	})
}

// No name that a user or HAProxy could come up with makes a line of more commands than were meant.
func FuzzLine(f *testing.F) {
	f.Add("web", "s1", "api", 10)
	f.Add("web;shutdown sessions server web/s1", "s1", "api", 1)
	f.Add("web", "s1\nset server web/s2 state maint", "api #", 1)
	f.Add("web", "s1", "api\r\n;", 256)
	f.Fuzz(func(t *testing.T, backend, server, read string, weight int) {
		cmds := []Command{SetWeight(backend, server, weight), SetState(backend, server, Drain)}
		names, err := unique([]string{read}, cmds)
		if err != nil {
			return
		}
		calls, err := changeCalls(cmds)
		if err != nil {
			return
		}
		all := append(calls, readCalls(names)...)
		for _, part := range splitCalls(all) {
			line := lineOf(part)
			// HAProxy ends a command at an unescaped ";" and the line at a newline.
			if got := strings.Count(line, ";") + 1; got != 2+len(part) || strings.ContainsAny(line, "\n\r\\#\"'") || len(line) >= maxLine+1 {
				t.Fatalf("%d commands where %d were meant, in %q", got, 2+len(part), line)
			}
			for _, c := range strings.Split(line, ";")[2:] {
				if !oneCommand.MatchString(c) && !oneQuestion.MatchString(c) {
					t.Fatalf("not a command of ours: %q", c)
				}
			}
		}
	})
}

// oneQuestion is what may ever be asked about a backend.
var oneQuestion = regexp.MustCompile(`^show (servers state [A-Za-z0-9_.:-]+|stat [A-Za-z0-9_.:-]+ 6 -1)$`)
