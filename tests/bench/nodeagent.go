package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/sockdiag"
)

const (
	nodeApps    = 20
	nodeWorkers = 50
	nodeBusy    = 10                     // requests in progress in each application
	nodeLong    = 200 * time.Millisecond // how long each of them takes
	nodeMarks   = 1000
	nodeConns   = 4000
	nodeSlices  = 6 // of the time in which the agent's processor time is measured
)

// node is a node agent in a process of its own, in front of a fleet that does nothing.
type node struct {
	*report
	opts   options
	dir    string
	fleet  *fleet
	agent  *child
	client *agent.Client
}

// runNode measures the node agent: its report, its readings, and what it costs by itself.
func runNode(rep *report, o options, dir string) error {
	if err := firstOf(nodeScan(rep, o, dir), nodeSockets(rep, o)); err != nil {
		return fmt.Errorf("the node agent: %w", err)
	}
	n := &node{report: rep, opts: o, dir: dir}
	var err error
	if n.fleet, err = startFleet(dir, nodeApps, nodeWorkers, nodeBusy, nodeLong); err != nil {
		return fmt.Errorf("the node agent's fleet: %w", err)
	}
	defer n.fleet.close()
	if err := n.start(); err != nil {
		return fmt.Errorf("the node agent: %w", err)
	}
	defer n.agent.stop()
	if err := firstOf(n.reports(), n.alone(), n.fleet.failed()); err != nil {
		return fmt.Errorf("the node agent: %w", err)
	}
	return nil
}

// start waits until every application is known with all its workers and requests.
func (n *node) start() (err error) {
	listen := "unix:" + filepath.Join(n.dir, "node.sock")
	if n.agent, err = startChild("node", append([]string{listen}, n.fleet.args()...)...); err != nil {
		return err
	}
	if _, err = n.agent.line(); err == nil {
		n.client, err = agent.NewClient(agent.ClientOptions{URL: listen, Timeout: 10 * time.Second})
	}
	for tries := 0; err == nil; tries++ {
		why := n.known()
		if why == nil {
			return nil
		}
		if tries == 300 {
			err = why
		}
		time.Sleep(100 * time.Millisecond)
	}
	n.agent.stop()
	return err
}

// known tells what the agent does not know yet.
func (n *node) known() error {
	r, err := n.client.Report(context.Background())
	if err != nil {
		return err
	}
	if len(r.Apps) != len(n.fleet.apps) {
		return fmt.Errorf("the report has %d applications", len(r.Apps))
	}
	for name, a := range r.Apps {
		if !a.Known || a.Ready != n.fleet.workers || a.Busy < 1 {
			return fmt.Errorf("%s: %+v", name, a)
		}
	}
	return nil
}

// reports compares the report with an HTTP server that has the same bytes ready.
func (n *node) reports() error {
	get := func(path string) func() error {
		c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}}}
		return func() error {
			resp, err := c.Get("http://unix/v1/report")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			size, err := io.Copy(io.Discard, resp.Body)
			if err == nil && (resp.StatusCode != http.StatusOK || size < int64(100*len(n.fleet.apps))) {
				err = fmt.Errorf("the answer is %s with %d bytes", resp.Status, size)
			}
			return err
		}
	}
	path := filepath.Join(n.dir, "static.sock")
	stop, err := n.serveStatic(path)
	if err != nil {
		return err
	}
	defer stop()
	return n.takeTurns(n.opts, "agent/report", "reports/s", 1,
		fmt.Sprintf("Node agent: a report of %d applications with %d workers each, a connection each, over a unix socket", nodeApps, nodeWorkers),
		way{ours, "GET /v1/report", get(filepath.Join(n.dir, "node.sock"))},
		way{limit, "as many bytes that are ready", get(path)})
}

// serveStatic answers with the bytes of a report.
func (n *node) serveStatic(path string) (stop func(), err error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(n.dir, "node.sock"))
	}}}
	resp, err := c.Get("http://unix/v1/report")
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	n.printf("\nthe report of %d applications has %s bytes\n", nodeApps, thousands(int64(len(body))))
	file := filepath.Join(n.dir, "static.json")
	if err := os.WriteFile(file, body, 0o644); err != nil {
		return nil, err
	}
	server, err := startChild("static", path, file)
	if err != nil {
		return nil, err
	}
	if _, err := server.line(); err != nil {
		server.stop()
		return nil, err
	}
	return server.stop, nil
}

// alone measures what the agent takes by itself: nobody asks it anything.
func (n *node) alone() error {
	n.printf("\n== Node agent by itself: %d applications with %d workers each, of which %d are busy with requests of %v; %v\n",
		nodeApps, nodeWorkers, nodeBusy, nodeLong, n.opts.nodeTime)
	if n.opts.profiles != "" {
		if _, err := n.agent.ask("profile " + filepath.Join(n.opts.profiles, "node.prof")); err != nil {
			return err
		}
	}
	var dirs []string
	for _, a := range n.fleet.apps {
		dirs = append(dirs, a.marks)
	}
	lister, err := startChild("lister", dirs...)
	if err != nil {
		return err
	}
	defer lister.stop()
	pids := map[string]int{ours: n.agent.cmd.Process.Pid, limit: lister.cmd.Process.Pid}
	share, most := series{}, 0.0
	for range nodeSlices {
		before, began := map[string]time.Duration{}, time.Now()
		for who, pid := range pids {
			if before[who], err = cpuOf(pid); err != nil {
				return err
			}
		}
		time.Sleep(n.opts.nodeTime / nodeSlices)
		for who, pid := range pids {
			after, err := cpuOf(pid)
			if err != nil {
				return err
			}
			share.add(who, 100*(after-before[who]).Seconds()/time.Since(began).Seconds())
		}
		rss, err := statusMiB(pids[ours], "VmRSS")
		if err != nil {
			return err
		}
		most = max(most, rss)
	}
	if n.opts.profiles != "" {
		if _, err := n.agent.ask("stop"); err != nil {
			return err
		}
	}
	if err := n.known(); err != nil {
		return err
	}
	n.printf("  %s %% of one processor, RSS %s MiB\n", spread(share[ours]), short(most))
	n.printf("  %s %% for a bare listing of the folders of marks, ten times a second, at the same time; ours takes %s x that\n",
		spread(share[limit]), spread(share.ratios(ours, limit)))
	n.line(share.conclude("agent/cpu", "% of a core"))
	n.line(series{ours: {most}}.conclude("agent/rss", "MiB"))
	text := fmt.Sprintf("with %d applications of %d workers", nodeApps, nodeWorkers)
	n.goal("node agent: < 1 % of a core "+text, share[ours], 1, true)
	n.goal("node agent: RSS < 40 MB (38.1 MiB) "+text, []float64{most}, 40e6/(1<<20), true)
	return nil
}

// nodeScan compares the reading of a folder of marks with a plain listing.
func nodeScan(rep *report, o options, dir string) error {
	f, err := startFleet(dir, 1, nodeWorkers, nodeMarks-nodeWorkers, 1000*time.Hour) // nothing changes
	if err != nil {
		return err
	}
	defer f.close()
	a := f.apps[0]
	if err := a.fill(f, nodeMarks-nodeWorkers); err != nil {
		return err
	}
	src := filemarks.New(a.marks)
	return rep.takeTurns(o, "agent/marks", "scans/s", 1, fmt.Sprintf("Node agent: %s marks counted", thousands(nodeMarks)),
		way{ours, "counted, dead processes looked for", func() error {
			c, err := src.Count(nil)
			if err == nil && (c.Busy != nodeMarks-nodeWorkers || c.Removed != 0) {
				err = fmt.Errorf("%d busy, %d removed", c.Busy, c.Removed)
			}
			return err
		}},
		way{peer, "os.ReadDir, nothing looked at", func() error {
			es, err := os.ReadDir(a.marks)
			if err == nil && len(es) != nodeMarks {
				err = fmt.Errorf("%d names", len(es))
			}
			return err
		}})
}

// nodeSockets compares ways to count the connections of one listener among many.
func nodeSockets(rep *report, o options) error {
	var rl syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rl); err != nil || rl.Cur < 2*nodeConns+200 {
		rep.printf("\n== Node agent: connections left out, only %d files may be open\n", rl.Cur)
		return nil
	}
	var closers []io.Closer
	defer func() {
		for _, c := range closers {
			_ = c.Close()
		}
	}()
	var addrs []string
	var port uint64
	// More listeners than the kernel is asked to filter by, so that a source for all of them filters by itself.
	for i := range 70 {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		closers, addrs = append(closers, ln), append(addrs, ln.Addr().String())
		for range nodeConns {
			if i > 0 {
				break
			}
			port = uint64(ln.Addr().(*net.TCPAddr).Port)
			there, err := net.Dial("tcp4", addrs[0])
			if err != nil {
				return err
			}
			here, err := ln.Accept()
			if err != nil {
				return errors.Join(err, there.Close())
			}
			closers = append(closers, there, here)
		}
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	count := func(sockets []string) func() error {
		return func() error {
			s := sockdiag.New(sockdiag.NewTable(), sockets...) // one that has asked nothing yet
			c, err := s.Count(nil)
			if err == nil && c.Busy != nodeConns {
				err = fmt.Errorf("%d connections counted", c.Busy)
			}
			return errors.Join(err, s.Close())
		}
	}
	return rep.takeTurns(o, "agent/sockets", "counts/s", 1,
		fmt.Sprintf("Node agent: %s connections of one listener counted (%s sockets)", thousands(nodeConns), thousands(2*nodeConns)),
		way{ours, "sock_diag, filtered by the kernel", count(addrs[:1])},
		way{peer, "procfs NetTCP", func() error {
			//lint:ignore SA1019 this is the way to compare with
			all, err := fs.NetTCP()
			n := 0
			for _, s := range all {
				if s.LocalPort == port && s.St == 1 && s.Inode != 0 {
					n++
				}
			}
			// The file is read in pieces while others come and go, so that a few may be missing or there twice.
			if err == nil && (n < nodeConns*9/10 || n > nodeConns*11/10) {
				err = fmt.Errorf("%d connections counted", n)
			}
			return err
		}},
		way{limit, "sock_diag, all sockets, filtered here", count(addrs)})
}
