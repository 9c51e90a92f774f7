package haproxyconf_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/spoa"
	"github.com/tidegate/tidegate/tests/harness"
)

var processingRule = regexp.MustCompile(`processing (2|10)ms`)

// TestWalk makes everything happen that can become of a request, each in a backend of its own, and compares what the agent
// has counted with what the clients have, and the times of each sample with HAProxy's own log.
func TestWalk(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) { walk(t, binary, variant, false) })
}

// With arrival messages on, everything is as without, and the arrivals that were told are those that HAProxy has counted.
func TestWalkWithArrivals(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) { walk(t, binary, variant, true) })
}

func walk(t *testing.T, binary, variant string, arrivals bool) {
	o := newOrigin(t)
	cases := walkCases()
	backends := map[string]backendText{}
	for _, c := range cases {
		b := backendText{body: strings.ReplaceAll(c.backend, "ORIGIN", o.addr)}
		for line := range strings.Lines(b.body) {
			if words := strings.Fields(line); words[0] == "server" {
				b.servers = append(b.servers, words[1])
			}
		}
		backends[c.id] = b
	}
	s := newSite(t, binary, variant, backends, func(p *haproxyconf.Params, files *haproxyconf.Files) {
		// An id tells which sample belongs to which line of the log.
		p.Arrivals, p.IDs = arrivals, true
		// The race detector and other tests on the same processors make the agent late for the shipped 10 ms, and a late
		// agent may lose a sample. The matrix runs without them, with the files as they are; but for those with arrivals,
		// whose 2 ms for 2.6 are less than such a machine can promise.
		if files != nil && (arrivals || os.Getenv(haproxiesEnv) == "") {
			files.SPOE = processingRule.ReplaceAllString(files.SPOE, "processing 1s")
		}
	})
	clients := make([]*client, len(cases))
	var all sync.WaitGroup
	for i, c := range cases {
		clients[i] = &client{t: t, site: s, origin: o, walkCase: c}
		all.Go(func() { c.run(clients[i]) })
		time.Sleep(10 * time.Millisecond)
	}
	all.Wait()
	sent := 0
	for _, c := range clients {
		sent += c.seen.sent + c.elsewhere
	}
	// Connections that a HTTP/2 client opened and did not need are logged too, as bad requests.
	logged := func() (n int) {
		for _, l := range s.log.lines() {
			if l["proto"] != "<BADREQ>" {
				n++
			}
		}
		return n
	}
	if err := harness.WaitFor("a log line of each request", 5*time.Second, func() bool { return logged() == sent }); err != nil {
		t.Errorf("%v: %d of %d came", err, logged(), sent)
	}
	s.compare(t, clients, versionOf(t, binary), variant)
	if st := s.agent.Stats(); len(st.Malformed) != 0 || (st.Arrivals > 0) != arrivals {
		t.Errorf("malformed input from a real HAProxy: %v; %d arrivals told", st.Malformed, st.Arrivals)
	}
	s.compareArrivals(t, clients)
}

// compareArrivals wants every arrival told, and nothing open when all clients have gone; nothing known at all without
// arrival messages.
func (s *site) compareArrivals(t *testing.T, clients []*client) {
	t.Helper()
	for _, c := range clients {
		wantOpen := 0
		if !s.arrivals {
			wantOpen = spoa.Absent
		}
		err := harness.WaitFor(c.id, 10*time.Second, func() bool {
			r := s.report(c.id)
			return (r.Arrivals == r.Started) == s.arrivals && r.Open == wantOpen && r.OldestOpen == 0 || r.Started == 0
		})
		if err != nil {
			r := s.report(c.id)
			t.Errorf("%s: %d arrivals told, %d counted; %d open, the oldest for %v; want %d open", c.title, r.Arrivals, r.Started, r.Open, r.OldestOpen, wantOpen)
		}
	}
}

// compare waits for the agent to know what the clients know, and prints both.
func (s *site) compare(t *testing.T, clients []*client, version, variant string) {
	t.Helper()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "case\tCLIENT sent\tserved\t5xx\trefused\tleft\topen/queued\tAGENT arrived\tcompleted\t5xx\tno response\taborted\topen/queued\tequal\ttimed\tworst Tw Tc Tr\tlog\n")
	var compared, off int
	for _, c := range clients {
		err := harness.WaitFor(c.id, 5*time.Second, func() bool { return counted(s.report(c.id)) == c.seen })
		got := counted(s.report(c.id))
		equal := err == nil && got == c.seen && c.peaks == c.told
		if !equal {
			t.Errorf("%s: the clients saw %+v and open/queued%s, the agent %+v and%s", c.title, c.seen, c.peaks, got, c.told)
		}
		times := s.compareTimes(t, c.id)
		compared, off = compared+3*times.requests, off+times.off
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%v %v %v\t%s\n", c.title,
			c.seen.sent, c.seen.served, c.seen.errors, c.seen.refused, c.seen.aborted, c.peaks,
			got.sent, got.served, got.errors, got.refused, got.aborted, c.told, map[bool]string{true: "yes", false: "NO"}[equal],
			times.requests, times.worst[0], times.worst[1], times.worst[2], times.log)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("HAProxy %s, files for %s: %d of %d times differ from the log by more than 1 ms\n%s", version, variant, off, compared, text.String())
	if off*10 > compared {
		t.Errorf("%d of %d times differ from the log by more than 1 ms", off, compared)
	}
}

// counts are requests: all, those a server answered (at least the headers) and with a 5xx, those HAProxy answered itself,
// and those that ended without an answer because the client left.
type counts struct{ sent, served, errors, refused, aborted int }

func counted(r spoa.BackendReport) counts {
	return counts{
		sent: int(r.Started), served: int(r.Completions), errors: int(r.Errors), refused: int(r.NoResponse),
		aborted: int(r.Finished) - int(r.Completions) - int(r.NoResponse),
	}
}

type timesReport struct {
	requests, off int
	worst         [3]time.Duration
	log           string
}

// compareTimes finds the sample of every log line of a backend whose request a server answered, and compares the two.
func (s *site) compareTimes(t *testing.T, backend string) (r timesReport) {
	t.Helper()
	kinds := map[string]int{}
	for _, l := range s.log.lines() {
		if l["be"] != backend {
			continue
		}
		kinds[l["st"]+" "+l["tsc"]]++
		if (backend == "http2") != (l["proto"] == "HTTP/2.0") {
			t.Errorf("%s was spoken: %v", l["proto"], l)
		}
		// 1 is the processing time-out: a machine that stands still for 10 ms makes an ACK late, the sample came all the same.
		if l["err"] == "1" {
			kinds["late ACK"]++
		} else if l["err"] != "-" {
			t.Errorf("an exchange failed: %v", l)
		}
		if l["Tr"] == "-1" {
			if l["id"] != "-" && !s.arrivals {
				t.Errorf("a sample of a request that no server answered: %v", l)
			}
			continue
		}
		sample, ok := s.rec.sample(l["id"])
		if !ok {
			t.Errorf("no sample for the log line %v", l)
			continue
		}
		if sample.Backend != l["be"] || sample.Server != l["srv"] || fmt.Sprint(sample.Status) != l["st"] {
			t.Errorf("the sample says backend %s, server %s, status %d; the log %v", sample.Backend, sample.Server, sample.Status, l)
		}
		redispatched := strings.HasPrefix(l["rc"], "+")
		if sample.Redispatched != redispatched || fmt.Sprint(sample.Retries) != strings.TrimPrefix(l["rc"], "+") {
			t.Errorf("retries %d, redispatched %v in the sample; the log %v", sample.Retries, sample.Redispatched, l)
		}
		r.requests++
		for i, ours := range []time.Duration{sample.Queue, sample.Connect, sample.Response} {
			// The log's are whole milliseconds, ours are not cut. HAProxy reads its clock once per turn of its loop, so that on
			// a busy machine a stamp may be a turn late: nearly all must agree to 1 ms, and all to 3 ms.
			logged := l.ms(t, []string{"Tw", "Tc", "Tr"}[i])
			diff := ours - logged
			if diff <= -time.Millisecond || diff >= 2*time.Millisecond {
				r.off++
			}
			if diff.Abs() > r.worst[i].Abs() {
				r.worst[i] = diff
			}
			if diff.Abs() > 3*time.Millisecond || ours < 0 {
				t.Errorf("%v in the sample, %v in the log %v", ours, logged, l)
			}
		}
	}
	var logs []string
	for kind, n := range kinds {
		logs = append(logs, fmt.Sprintf("%d x %s", n, kind))
	}
	r.log = strings.Join(logs, ", ")
	return r
}
