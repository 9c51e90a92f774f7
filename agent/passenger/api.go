package passenger

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// askTimeout bounds one question; the answer takes a third of a millisecond.
	askTimeout = time.Second
	// maxAnswer bounds what is read of one answer, in bytes; a process has about 900 in pool.xml.
	maxAnswer = 4 << 20
)

// pool is what /pool.xml says.
type pool struct {
	Max    int     `xml:"max"`
	Wait   int     `xml:"get_wait_list_size"`
	Groups []group `xml:"supergroups>supergroup>group"`
}

// group is one application.
type group struct {
	Name      string    `xml:"name"`
	Root      string    `xml:"app_root"`
	Wait      int       `xml:"get_wait_list_size"`
	Spawning  int       `xml:"processes_being_spawned"`
	Least     int       `xml:"options>min_processes"`
	Processes []process `xml:"processes>process"`
}

type process struct {
	PID int `xml:"pid"`
	// Concurrency is how many requests it takes at once, 0 for any number; Sessions are those in progress.
	Concurrency int    `xml:"concurrency"`
	Sessions    int    `xml:"sessions"`
	Life        string `xml:"life_status"`
	Enabled     string `xml:"enabled"`
}

// leaves tells whether a process gets no further requests.
func (p process) leaves() bool { return p.Life != "ALIVE" || p.Enabled != "ENABLED" }

// maxCount is beyond what any pool has; a number above it is not believed.
const maxCount = 100000

// parsePool reads /pool.xml. Elements that are not known are passed over.
func parsePool(b []byte) (pool, error) {
	// Passenger names no encoding; what is not UTF-8 can only be in names.
	dec := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(b, []byte("?"))))
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var p struct {
		XMLName xml.Name `xml:"info"`
		pool
	}
	if err := dec.Decode(&p); err != nil {
		return pool{}, fmt.Errorf("pool.xml is not understood: %w", err)
	}
	if p.Max < 1 {
		return pool{}, errors.New("pool.xml has no max")
	}
	numbers := []int{p.Max, p.Wait}
	for _, g := range p.Groups {
		numbers = append(numbers, g.Wait, g.Spawning, g.Least)
		for _, w := range g.Processes {
			if w.PID < 2 || w.PID > 4<<20 {
				return pool{}, fmt.Errorf("pool.xml has a process with the pid %d", w.PID)
			}
			numbers = append(numbers, w.Concurrency, w.Sessions)
		}
	}
	for _, n := range numbers {
		if n < 0 || n > maxCount {
			return pool{}, fmt.Errorf("pool.xml has the number %d, which nothing in a pool can be", n)
		}
	}
	return p.pool, nil
}

// api speaks with the core of one instance.
type api struct {
	dir  string
	http http.Client
}

func newAPI(dir string) *api {
	a := &api{dir: dir}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "agents.s", "core_api"))
	}
	a.http = http.Client{Timeout: askTimeout, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	return a
}

// pool asks for /pool.xml.
func (a *api) pool() (pool, error) {
	b, err := a.do(http.MethodGet, "/pool.xml", nil)
	if err != nil {
		return pool{}, err
	}
	return parsePool(b)
}

// setMax sets max_pool_size.
func (a *api) setMax(n int) error {
	_, err := a.do(http.MethodPut, "/config.json", map[string]int{"max_pool_size": n})
	return err
}

// detach lets one process finish and go.
func (a *api) detach(pid int) error {
	_, err := a.do(http.MethodPost, "/pool/detach_process.json", map[string]int{"pid": pid})
	return err
}

// do asks and returns the body of an answer with the status 200.
func (a *api) do(method, path string, order any) ([]byte, error) {
	var content io.Reader
	if order != nil {
		b, err := json.Marshal(order)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://passenger"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if user, password := a.login(method == http.MethodGet); user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		// The URL in the error says nothing, the folder does.
		return nil, fmt.Errorf("%s %s of the Passenger instance %s: %w", method, path, a.dir, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s of the Passenger instance %s: %w", method, path, a.dir, err)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s %s of the Passenger instance %s is not allowed: run the agent as root or as Passenger's user, who can read the passwords in that folder",
			method, path, a.dir)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s %s of the Passenger instance %s answers %d: %.200q", method, path, a.dir, resp.StatusCode, bytes.TrimSpace(b))
	}
	return b, nil
}

// login is a user and the password that lies in the instance's folder; none for root, who needs none, and when none can be
// read. They are another one with each instance.
func (a *api) login(reading bool) (user, password string) {
	if os.Geteuid() == 0 {
		return "", ""
	}
	accounts := [][2]string{{"admin", "full_admin_password.txt"}}
	if reading {
		accounts = [][2]string{{"ro_admin", "read_only_admin_password.txt"}, accounts[0]}
	}
	for _, c := range accounts {
		if b, err := os.ReadFile(filepath.Join(a.dir, c[1])); err == nil && len(b) > 0 && len(b) < 1000 {
			return c[0], strings.TrimSpace(string(b))
		}
	}
	return "", ""
}
