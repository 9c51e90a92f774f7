package marks_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/tests/harness"
)

// Scripts that call an application with and without the middleware in turns, and print the microseconds of processor time of
// a call of each round: without, then with.
const (
	pythonCost = `
import sys, time
from tidegate_marks import Marks
def plain(env, sr): return [b"ok"]
def call(app):
    begin = time.process_time()
    for _ in range(500):
        body = app({}, None)
        for _ in body: pass
        getattr(body, "close", bool)()
    return (time.process_time() - begin) * 1e6 / 500
marked = Marks(plain, sys.argv[1])
call(plain), call(marked)
for _ in range(int(sys.argv[2])): print(call(plain), call(marked))
`
	rubyCost = `
require "tidegate_marks"
PLAIN = ->(_env) { [200, {}, ["ok"]] }
def cost(app)
  start = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
  500.times do
    body = app.call({})[2]
    body.each { |_| }
    body.close if body.respond_to?(:close)
  end
  (Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - start) * 1e6 / 500
end
marked = TidegateMarks.new(PLAIN, ARGV[0])
[PLAIN, marked].each { |a| cost(a) }
ARGV[1].to_i.times { puts "#{cost(PLAIN)} #{cost(marked)}" }
`
)

// BenchmarkMark tells what a mark costs a request: by itself in processor time ("call"), and of a whole request to a real
// server with one worker, one after the other, as the client waits for it ("request"). Each round measures with and without it; the figures are medians over the rounds.
func BenchmarkMark(b *testing.B) {
	const rounds = 41
	wsgi, rack := folder(b, "wsgi"), folder(b, "rack")
	b.Run("python/call", func(b *testing.B) {
		report(b, callCost(b, "drive.py", pythonCost, rounds, []string{"PYTHONPATH=" + wsgi}, "python3", "-B"))
	})
	b.Run("ruby/call", func(b *testing.B) { report(b, callCost(b, "drive.rb", rubyCost, rounds, nil, "ruby", "-I", rack)) })
	b.Run("gunicorn/request", func(b *testing.B) {
		report(b, servers(b, rounds, func(rig *harness.Rig, name, addr, marks string) error {
			g := harness.Gunicorn{Name: name, Bind: addr, Workers: 1, Path: []string{wsgi}}
			if marks != "" {
				if _, err := rig.Write("marked.py", "import os\nfrom app import app as inner\nfrom tidegate_marks import Marks\napp = Marks(inner, os.environ['MARKS'])\n"); err != nil {
					return err
				}
				g.App, g.Path, g.Env = "marked:app", append(g.Path, rig.Dir), []string{"MARKS=" + marks}
			}
			_, err := rig.StartGunicorn(g)
			return err
		}))
	})
	for server, start := range map[string]func(*harness.Rig, harness.AppServer) (*harness.Proc, error){
		"unicorn": (*harness.Rig).StartUnicorn, "puma": (*harness.Rig).StartPuma} {
		b.Run(server+"/request", func(b *testing.B) {
			report(b, servers(b, rounds, func(rig *harness.Rig, name, addr, marks string) error {
				s := harness.AppServer{Name: name, Bind: addr, Workers: 1}
				if marks != "" {
					s.Env = []string{"MARKS_LIB=" + rack, "MARKS=" + marks}
				}
				_, err := start(rig, s)
				return err
			}))
		})
	}
}

func folder(b *testing.B, name string) string {
	b.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		b.Fatal(err)
	}
	return path
}

// shm is a folder for marks on a tmpfs.
func shm(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tidegate-marks-")
	if err != nil {
		b.Skipf("no tmpfs: %v", err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// callCost runs a script that measures by itself.
func callCost(b *testing.B, name, text string, rounds int, env []string, argv ...string) (pairs [][2]float64) {
	b.Helper()
	harness.Need(b, argv[0])
	rig := harness.ForTest(b)
	path, err := rig.Write(name, text)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(argv[0], append(argv[1:], path, shm(b), strconv.Itoa(rounds))...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var p [2]float64
		if _, err := fmt.Sscan(line, &p[0], &p[1]); err != nil {
			b.Fatalf("%q: %v", line, err)
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// servers starts the same server without and with marks and asks them in turns, 100 requests each.
func servers(b *testing.B, rounds int, start func(rig *harness.Rig, name, addr, marks string) error) (pairs [][2]float64) {
	b.Helper()
	harness.Need(b, strings.SplitN(b.Name(), "/", 3)[1])
	rig := harness.ForTest(b)
	var urls [2]string
	for i, marks := range []string{"", shm(b)} {
		addr, err := rig.Addr()
		if err == nil {
			err = start(rig, fmt.Sprint("app", i), addr, marks)
		}
		if err != nil {
			b.Fatal(err)
		}
		urls[i] = "http://" + addr + "/"
	}
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for round := range rounds + 1 {
		var p [2]float64
		for i, url := range urls {
			begin := time.Now()
			for range 100 {
				resp, err := c.Get(url)
				if err != nil || resp.StatusCode != 200 || resp.Body.Close() != nil {
					b.Fatalf("%s: %v", url, err)
				}
			}
			p[i] = float64(time.Since(begin).Microseconds()) / 100
		}
		if round > 0 { // the first one warms up
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// report prints medians: the pairs' differences and ratios, not those of the medians.
func report(b *testing.B, pairs [][2]float64) {
	b.Helper()
	median := func(f func([2]float64) float64) float64 {
		var all []float64
		for _, p := range pairs {
			all = append(all, f(p))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(func(p [2]float64) float64 { return p[0] }), "us-without")
	b.ReportMetric(median(func(p [2]float64) float64 { return p[1] }), "us-with")
	b.ReportMetric(median(func(p [2]float64) float64 { return p[1] - p[0] }), "us-more")
	b.ReportMetric(median(func(p [2]float64) float64 { return p[1] / p[0] }), "ratio")
}
