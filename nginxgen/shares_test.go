package nginxgen_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// balanced is a real nginx with two workers that has rendered upstreams, each behind a port of its own, in front of small
// servers that count.
type balanced struct {
	t       *testing.T
	rig     *harness.Rig
	servers []nginxgen.Server // by number: IPv4, IPv6, a socket, and again
	hits    []atomic.Int64
	url     map[string]string
}

// newBalanced starts n servers; run then starts nginx.
func newBalanced(t *testing.T, n int) *balanced {
	t.Helper()
	harness.Need(t, "nginx")
	b := &balanced{t: t, rig: harness.ForTest(t), hits: make([]atomic.Int64, n), url: map[string]string{}}
	for i := range n {
		network, address := "tcp", "127.0.0.1:0"
		switch {
		case i%3 == 1 && ipv6():
			address = "[::1]:0"
		case i%3 == 2:
			network, address = "unix", b.rig.Path(fmt.Sprintf("s%d.sock", i))
		}
		ln, err := net.Listen(network, address)
		b.must(err)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.hits[i].Add(1)
			fmt.Fprint(w, i)
		})}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { srv.Close() })
		at := ln.Addr().String()
		if network == "unix" {
			b.must(os.Chmod(address, 0o666))
			at = "unix:" + address
		}
		b.servers = append(b.servers, nginxgen.Server{Address: at, Name: fmt.Sprint("s", i)})
	}
	return b
}

func ipv6() bool {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

func (b *balanced) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// weighted are the first servers with these weights; 0 is down.
func (b *balanced) weighted(weights ...int) []nginxgen.Server {
	out := slices.Clone(b.servers[:len(weights)])
	for i, w := range weights {
		out[i].Weight, out[i].Down = w, w == 0
	}
	return out
}

// run renders the upstreams, http and stream, and starts nginx with a port for each.
func (b *balanced) run(load string, upstreams ...nginxgen.Upstream) {
	b.t.Helper()
	var main strings.Builder
	blocks := map[bool]string{}
	for _, stream := range []bool{false, true} {
		var of []nginxgen.Upstream
		servers := ""
		for _, u := range upstreams {
			if u.Stream != stream {
				continue
			}
			of = append(of, u)
			port, err := b.rig.Port()
			b.must(err)
			b.url[u.Name] = fmt.Sprintf("http://127.0.0.1:%d/", port)
			pass := fmt.Sprintf("proxy_pass %s;", u.Name)
			if !stream {
				pass = fmt.Sprintf("location / { proxy_pass http://%s; proxy_http_version 1.1; proxy_set_header Connection ''; }", u.Name)
			}
			servers += fmt.Sprintf("server { listen 127.0.0.1:%d; %s }\n", port, pass)
		}
		text, err := nginxgen.Render(nginxgen.Model{Upstreams: of})
		b.must(err)
		file, err := b.rig.Write(fmt.Sprintf("upstreams-%v.conf", stream), string(text))
		b.must(err)
		blocks[stream] = "include " + file + ";\n" + servers
	}
	main.WriteString(load + b.rig.NginxMain("nginx", blocks[false]))
	if len(load) > 0 {
		fmt.Fprintf(&main, "stream {\n%s}\n", blocks[true])
	}
	_, err := b.rig.StartNginx("nginx", main.String())
	b.must(err)
	for _, url := range b.url {
		b.must(harness.WaitListening(strings.Trim(strings.TrimPrefix(url, "http://"), "/"), 10*time.Second))
	}
}

// shares sends n requests to an upstream over eight connections, or each over one of its own, and returns the percentages.
func (b *balanced) shares(upstream string, n int, fresh bool) []float64 {
	b.t.Helper()
	for i := range b.hits {
		b.hits[i].Store(0)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8, DisableKeepAlives: fresh}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	var failed atomic.Value
	for range 8 {
		wg.Go(func() {
			for range n / 8 {
				if _, err := answer(client, b.url[upstream]); err != nil {
					failed.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() != nil {
		b.t.Fatalf("%s: a request failed: %v\n%s", upstream, failed.Load(), b.rig.Dump())
	}
	out := make([]float64, len(b.hits))
	for i := range b.hits {
		out[i] = 100 * float64(b.hits[i].Load()) / float64(n/8*8)
	}
	return out
}

// answer is the number of the server that answered.
func answer(client *http.Client, url string) (int, error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	n := 0
	if err == nil {
		_, err = fmt.Sscan(string(body), &n)
	}
	return n, err
}

func (b *balanced) near(upstream string, got []float64, bound float64, want ...float64) {
	b.t.Helper()
	b.t.Logf("%s: shares %.2f %%, wanted %.2f %%", upstream, got, want)
	for i, w := range want {
		if d := got[i] - w; d > bound || d < -bound {
			b.t.Errorf("%s: server %d (%s) got %.2f %% of the requests, want %.2f %% within %v", upstream, i, b.servers[i].Address, got[i], w, bound)
		}
	}
}

// TestSharesFollowTheWeights: 10,000 requests over two nginx workers, to servers at an IPv4 address, an IPv6 address and a
// socket. With round robin and a zone shares are exact but for what is under way. `random` draws: a share's standard
// deviation among 10,000 is at most 0.5 points, so 2.5 points are five of them.
func TestSharesFollowTheWeights(t *testing.T) {
	t.Parallel()
	b := newBalanced(t, 3)
	ready := nginxgen.Weights([]float64{12, 24, 84})
	b.run("",
		nginxgen.Upstream{Name: "robin", Zone: "64k", Keepalive: 8, Servers: b.weighted(ready...)},
		nginxgen.Upstream{Name: "chance", Zone: "64k", Keepalive: 8, Method: "random", Servers: b.weighted(ready...)},
		nginxgen.Upstream{Name: "fewest", Zone: "64k", Keepalive: 8, Method: "least_conn", Servers: b.weighted(5, 0, 5)},
	)
	b.near("robin", b.shares("robin", 10_000, false), 1, 10, 20, 70)
	b.near("chance", b.shares("chance", 10_000, false), 2.5, 10, 20, 70)
	if got := b.shares("fewest", 400, false); got[1] != 0 {
		t.Errorf("a server that is down got requests: %v", got)
	}
}

// TestSharesOfStreams: the same for connections in the stream block.
func TestSharesOfStreams(t *testing.T) {
	t.Parallel()
	load := harness.NeedStream(t)
	b := newBalanced(t, 3)
	u := func(name, method string, servers ...nginxgen.Server) nginxgen.Upstream {
		return nginxgen.Upstream{Name: name, Stream: true, Zone: "64k", Method: method, Servers: servers}
	}
	spare := b.weighted(0, 0, 3)
	spare[2].Backup = true
	b.run(load,
		u("robin", "", b.weighted(1, 2, 7)...),
		u("chance", "random", b.weighted(1, 2, 7)...),
		u("sticky", "hash $remote_addr consistent", b.weighted(10, 10, 0)...),
		u("spare", "", spare...),
		// The same name in both blocks: two upstreams, two zones.
		nginxgen.Upstream{Name: "both", Zone: "64k", Servers: b.weighted(1)},
	)
	b.near("robin", b.shares("robin", 4_000, true), 1, 10, 20, 70)
	// 1,600 draws: a standard deviation of at most 1.25 points.
	b.near("chance", b.shares("chance", 1_600, true), 6.25, 10, 20, 70)
	if got := b.shares("sticky", 80, true); got[0] != 100 && got[1] != 100 {
		t.Errorf("one client's connections went to several servers: %v", got)
	}
	b.near("spare", b.shares("spare", 80, true), 0, 0, 0, 100)
}

// TestAHashWithAServerDownMovesItsKeysAlone: nginx counts the weight of a server that is down when it places keys; with its
// weight kept no other server's key moves, with another weight most do.
func TestAHashWithAServerDownMovesItsKeysAlone(t *testing.T) {
	t.Parallel()
	b := newBalanced(t, 3)
	down := func(weight int) []nginxgen.Server {
		s := b.weighted(10, 5, weight)
		s[2].Down = true
		return s
	}
	for _, method := range []string{"hash $arg_key", "hash $arg_key consistent"} {
		name := "h" + strings.ReplaceAll(strings.TrimPrefix(method, "hash $arg_key"), " ", "_")
		t.Run(method, func(t *testing.T) {
			b := &balanced{t: t, rig: harness.ForTest(t), servers: b.servers, hits: b.hits, url: map[string]string{}}
			b.run("",
				nginxgen.Upstream{Name: name, Method: method, Servers: b.weighted(10, 5, 5)},
				nginxgen.Upstream{Name: name + ".kept", Method: method, Servers: down(5)},
				nginxgen.Upstream{Name: name + ".lost", Method: method, Servers: down(1)},
			)
			const keys = 600
			at := map[string][]int{}
			for upstream, url := range b.url {
				client := &http.Client{Timeout: 30 * time.Second}
				for k := range keys {
					who, err := answer(client, fmt.Sprintf("%s?key=k%d", url, k))
					b.must(err)
					at[upstream] = append(at[upstream], who)
				}
				client.CloseIdleConnections()
			}
			count, moved, lost := make([]float64, 3), 0, 0
			for k, who := range at[name] {
				count[who] += 100.0 / keys
				if who != 2 && at[name+".kept"][k] != who {
					moved++
				}
				if who != 2 && at[name+".lost"][k] != who {
					lost++
				}
			}
			// 800 points and more on the ring, and 600 keys: a few points off.
			b.near(name, count, 10, 50, 25, 25)
			t.Logf("%d keys of servers that stayed moved with the weight kept, %d with another weight", moved, lost)
			if moved > 0 {
				t.Errorf("%d keys of servers that stayed moved", moved)
			}
			if plain := !strings.HasSuffix(method, "consistent"); plain != (lost > keys/10) {
				t.Errorf("with another weight %d keys moved: is the weight worth keeping?", lost)
			}
		})
	}
}

// TestNobodyIsThereButNginxStarts: upstreams without a server to ask are accepted, and answered for by whom it may be.
func TestNobodyIsThereButNginxStarts(t *testing.T) {
	t.Parallel()
	b := newBalanced(t, 2)
	backup := b.weighted(1, 1)[1:]
	backup[0].Backup = true
	b.run("",
		nginxgen.Upstream{Name: "empty"},
		nginxgen.Upstream{Name: "down", Method: "hash $uri", Servers: b.weighted(0, 0)},
		nginxgen.Upstream{Name: "backups", Zone: "64k", Servers: backup},
	)
	for _, name := range []string{"empty", "down"} {
		if _, err := answer(http.DefaultClient, b.url[name]); err == nil || !strings.Contains(err.Error(), "502") {
			t.Errorf("%s: want 502, got %v", name, err)
		}
	}
	b.near("backups", b.shares("backups", 80, false), 0, 0, 100)
	http.DefaultClient.CloseIdleConnections()
}

// TestWhatIsRenderedIsWhatNginxTakes: every method with every setting that goes with it passes `nginx -t` without a
// warning; what Render refuses nginx refuses too.
func TestWhatIsRenderedIsWhatNginxTakes(t *testing.T) {
	t.Parallel()
	harness.Need(t, "nginx")
	load := ""
	kinds := []bool{false}
	t.Run("stream module", func(t *testing.T) { load = harness.NeedStream(t); kinds = append(kinds, true) })
	dir := t.TempDir()
	test := func(stream bool, file string) (string, error) {
		block := "http"
		if stream {
			block = "stream"
		}
		main := filepath.Join(dir, "main.conf")
		text := fmt.Sprintf("%spid %s/pid;\nerror_log stderr warn;\nevents { }\n%s {\ninclude %s;\n}\n", load, dir, block, file)
		if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		path, err := harness.Find("nginx")
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "-t", "-q", "-p", dir, "-c", main).CombinedOutput()
		return string(out), err
	}
	file := filepath.Join(dir, "upstreams.conf")
	for _, stream := range kinds {
		m := nginxgen.Model{}
		methods := []string{"", "least_conn", "random", "random two", "random two least_conn", "hash $remote_addr", "hash x$remote_addr:/.- consistent"}
		if !stream {
			methods = append(methods, "ip_hash")
		}
		for i, method := range methods {
			for j, zone := range []string{"", "64k"} {
				u := nginxgen.Upstream{Name: fmt.Sprintf("u%d_%d", i, j), Stream: stream, Method: method, Zone: zone, Servers: []nginxgen.Server{
					{Address: "10.0.0.1:80", Weight: 10, MaxConns: 5, MaxFails: -1, FailTimeout: time.Hour, Name: "all:/@+-._"},
					{Address: "[fd00::2]:65535", Down: true}, {Address: "[::ffff:10.0.0.3]:1"}, {Address: "unix:/run/a-b_c.d@e+f/g.sock", MaxFails: 1000},
				}}
				if !stream {
					u.Keepalive = 8 * j
				}
				if method == "" || method == "least_conn" {
					u.Servers[3].Backup = true
				}
				m.Upstreams = append(m.Upstreams, u)
			}
		}
		m.Upstreams = append(m.Upstreams, nginxgen.Upstream{Name: "empty", Stream: stream},
			nginxgen.Upstream{Name: "backups", Stream: stream, Servers: []nginxgen.Server{{Address: "10.0.0.1:80", Backup: true}}})
		text, err := nginxgen.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := test(stream, file); err != nil || out != "" {
			t.Errorf("stream %v: nginx does not take it (%v):\n%s\n%s", stream, err, out, text)
		}
		for name, body := range map[string]string{
			"backup with random":     "random; server 10.0.0.1:80; server 10.0.0.2:80 backup;",
			"backup with random two": "random two; server 10.0.0.1:80; server 10.0.0.2:80 backup;",
			"backup with hash":       "hash $remote_addr; server 10.0.0.1:80; server 10.0.0.2:80 backup;",
			"backup and ip_hash":     "ip_hash; server 10.0.0.1:80; server 10.0.0.2:80 backup;",
			"backups alone":          "server 10.0.0.2:80 backup;",
			"nothing":                "",
			"keepalive before hash":  "keepalive 4; hash $remote_addr; server 10.0.0.1:80;",
			"weight 0":               "server 10.0.0.1:80 weight=0;",
		} {
			if err := os.WriteFile(file, []byte("upstream x { "+body+" }\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			// 1.22 and 1.26 warn of it; 1.30 takes both orders.
			if name == "keepalive before hash" && !stream && nginxgen.CheckResolve(t.Context(), nginxgen.Options{File: "/none/a", Main: "/none/b"}) == nil {
				continue
			}
			if out, err := test(stream, file); err == nil && out == "" {
				t.Errorf("stream %v: nginx takes %q, which tidegate refuses or avoids", stream, name)
			}
		}
		if stream {
			for name, body := range map[string]string{"keepalive": "server 10.0.0.1:80; keepalive 4;", "ip_hash": "ip_hash; server 10.0.0.1:80;"} {
				if err := os.WriteFile(file, []byte("upstream x { "+body+" }\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := test(stream, file); err == nil {
					t.Errorf("nginx takes %q in a stream upstream, which tidegate refuses", name)
				}
			}
		}
	}
}
