package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const httpAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"

// playResponder is the fast server behind HAProxy when nginx is not installed. It takes each read that ends a header for
// one request.
func playResponder(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go respond(nc)
		}
	}()
	_, err = os.Stdin.Read(make([]byte, 1))
	return ignoreEOF(err)
}

func ignoreEOF(err error) error {
	if err != nil && err.Error() == "EOF" {
		return nil
	}
	return err
}

func respond(nc net.Conn) {
	defer nc.Close()
	var b [16 << 10]byte
	have := 0
	for {
		n, err := nc.Read(b[have:])
		if err != nil {
			return
		}
		if have += n; !bytes.HasSuffix(b[:have], []byte("\r\n\r\n")) {
			continue
		}
		have = 0
		if _, err := nc.Write([]byte(httpAnswer)); err != nil {
			return
		}
	}
}

// httpRun is one turn of load: conns connections for warm plus long, each with one request at a time. Without a rate a
// request follows its answer at once (closed loop); with one, requests leave at their time (open loop).
type httpRun struct {
	Addr       string
	Conns      int
	Rate       int
	Warm, Long time.Duration
}

// httpResult: Total and CPU count the warm-up too. Times are microseconds.
type httpResult struct {
	Total, Counted, Failed int
	PerSecond, P50, P99    float64
	// CPU is the load's own.
	CPU float64
}

// load makes one turn of load from a process of its own.
func load(r httpRun) (res httpResult, err error) {
	c, err := startChild("httpload", r.Addr, strconv.Itoa(r.Conns), strconv.Itoa(r.Rate), r.Warm.String(), r.Long.String())
	if err != nil {
		return res, err
	}
	defer c.stop()
	text, err := c.line()
	if err != nil {
		return res, err
	}
	if err := json.Unmarshal([]byte(text), &res); err != nil {
		return res, err
	}
	if res.Failed > 0 || res.Counted == 0 {
		return res, fmt.Errorf("%d of %d requests failed", res.Failed, res.Total)
	}
	return res, nil
}

func playHTTPLoad(args []string) error {
	if len(args) != 5 {
		return errors.New("httpload: it takes address, connections, rate, warm-up and time")
	}
	r := httpRun{Addr: args[0]}
	var errs [4]error
	r.Conns, errs[0] = strconv.Atoi(args[1])
	r.Rate, errs[1] = strconv.Atoi(args[2])
	r.Warm, errs[2] = time.ParseDuration(args[3])
	r.Long, errs[3] = time.ParseDuration(args[4])
	if err := firstOf(errs[:]...); err != nil {
		return err
	}
	run := closedLoop
	if r.Rate > 0 {
		run = openLoop
	}
	res, err := run(r)
	if err != nil {
		return err
	}
	res.CPU = micros(ownUsage(taken{}).CPU)
	return json.NewEncoder(os.Stdout).Encode(res)
}

// caller is one keep-alive connection, by its descriptor.
type caller struct {
	file *os.File
	fd   int
	buf  [4096]byte
	have int
	sent time.Time
}

var httpRequest = []byte("GET /bench HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")

// newCaller connects. The descriptor is blocking; closedLoop reads it only when there is something.
func newCaller(addr string) (*caller, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	f, err := nc.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	return &caller{file: f, fd: int(f.Fd())}, nil
}

func (c *caller) send(now time.Time) error {
	c.sent = now
	_, err := syscall.Write(c.fd, httpRequest)
	return err
}

// receive reads once and tells whether the whole answer is there, and whether it is a good one.
func (c *caller) receive() (whole, good bool, err error) {
	n, err := syscall.Read(c.fd, c.buf[c.have:])
	if err != nil {
		return false, false, err
	}
	if n == 0 {
		return false, false, errors.New("the connection was closed")
	}
	c.have += n
	head, body, found := bytes.Cut(c.buf[:c.have], []byte("\r\n\r\n"))
	if !found {
		return false, false, nil
	}
	size, err := contentLength(head)
	if err != nil || len(body) > size {
		return false, false, fmt.Errorf("not the answer expected: %q", c.buf[:c.have])
	}
	if len(body) < size {
		return false, false, nil
	}
	c.have = 0
	return true, bytes.HasPrefix(head, []byte("HTTP/1.1 200")), nil
}

var lengthNames = [][]byte{[]byte("\r\ncontent-length: "), []byte("\r\nContent-Length: ")}

func contentLength(head []byte) (n int, err error) {
	for _, name := range lengthNames {
		if at := bytes.Index(head, name); at >= 0 {
			for _, c := range head[at+len(name):] {
				if c < '0' || c > '9' {
					break
				}
				n = n*10 + int(c-'0')
			}
			return n, nil
		}
	}
	return 0, errors.New("no content-length")
}

// closedLoop is one thread with an event loop, to leave the processors to those who are measured.
func closedLoop(r httpRun) (res httpResult, err error) {
	runtime.LockOSThread()
	ep, err := unix.EpollCreate1(0)
	if err != nil {
		return res, err
	}
	defer unix.Close(ep)
	callers := make([]*caller, r.Conns)
	for i := range callers {
		if callers[i], err = newCaller(r.Addr); err != nil {
			return res, err
		}
		defer callers[i].file.Close()
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, callers[i].fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return res, err
		}
		if err := callers[i].send(time.Now()); err != nil {
			return res, err
		}
	}
	start := time.Now().Add(r.Warm)
	end := start.Add(r.Long)
	took := make([]time.Duration, 0, 1<<20)
	events := make([]unix.EpollEvent, r.Conns)
	for now := time.Now(); now.Before(end); {
		n, err := unix.EpollWait(ep, events, 100)
		if err != nil && err != unix.EINTR {
			return res, err
		}
		for _, ev := range events[:max(n, 0)] {
			c := callers[ev.Fd]
			whole, good, err := c.receive()
			if err != nil {
				return res, err
			}
			now = time.Now()
			if !whole {
				continue
			}
			res.Total++
			if !good {
				res.Failed++
			}
			if now.After(start) && now.Before(end) {
				took = append(took, now.Sub(c.sent))
			}
			if err := c.send(now); err != nil {
				return res, err
			}
		}
		if n <= 0 {
			now = time.Now()
		}
	}
	// What is still under way is answered too, so that agent and load count the same.
	for _, c := range callers {
		for whole := false; !whole; {
			if whole, _, err = c.receive(); err != nil {
				return res, err
			}
		}
		res.Total++
	}
	res.summarize(took, r.Long)
	return res, nil
}

// openLoop shares the rate out to the connections, each a thread of its own. A request's time begins when it was due if
// the one before held it up, and when it was sent otherwise: how late this side wakes up is not the proxy's doing.
func openLoop(r httpRun) (res httpResult, err error) {
	every := time.Duration(r.Conns) * time.Second / time.Duration(r.Rate)
	first := time.Now().Add(20 * time.Millisecond)
	measure := first.Add(r.Warm)
	end := measure.Add(r.Long)
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	errs := make(chan error, r.Conns)
	for i := range r.Conns {
		c, err := newCaller(r.Addr)
		if err != nil {
			return res, err
		}
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			defer c.file.Close()
			mine := make([]time.Duration, 0, 1<<14)
			total, failed := 0, 0
			due := first.Add(time.Duration(i) * every / time.Duration(r.Conns))
			err := func() error {
				for ; due.Before(end); due = due.Add(every) {
					from := due
					if wait := time.Until(due); wait > 0 {
						ts := unix.NsecToTimespec(int64(wait))
						_ = unix.Nanosleep(&ts, nil)
						from = time.Now()
					}
					if err := c.send(from); err != nil {
						return err
					}
					for whole, good := false, false; !whole; {
						var err error
						if whole, good, err = c.receive(); err != nil {
							return err
						}
						if whole && !good {
							failed++
						}
					}
					total++
					if due.After(measure) {
						mine = append(mine, time.Since(from))
					}
				}
				return nil
			}()
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			res.Total += total
			res.Failed += failed
			errs <- err
		})
	}
	wg.Wait()
	for range r.Conns {
		err = firstOf(err, <-errs)
	}
	res.summarize(took, r.Long)
	return res, err
}

func (r *httpResult) summarize(took []time.Duration, long time.Duration) {
	r.Counted = len(took)
	if r.Counted == 0 {
		return
	}
	slices.Sort(took)
	r.PerSecond = float64(r.Counted) / long.Seconds()
	r.P50, r.P99 = micros(took[len(took)/2]), micros(took[len(took)*99/100])
}
