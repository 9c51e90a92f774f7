package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
)

const (
	webUpstreams = 1000
	webServers   = 50
)

// webBench measures what nginx's include file costs: to render it and to find that nothing has changed.
type webBench struct {
	*e2e
	model   nginxgen.Model
	text    []byte
	program string // "" without nginx
}

// runNginx compares rendering with bare formatting and with nginx's own test of the same file, and an unchanged plan with
// rendering.
func runNginx(rep *report, o options, dir string) error {
	w := &webBench{e2e: &e2e{report: rep, opts: o, dir: dir}, model: webModel(webUpstreams, webServers)}
	defer w.close()
	var err error
	if w.text, err = nginxgen.Render(w.model); err != nil {
		return err
	}
	if w.program, err = find("nginx"); err != nil {
		rep.printf("\n== nginx's include file: nginx's part is left out, %v\n", err)
	}
	if err = w.render(); err == nil && w.program != "" {
		err = w.unchanged()
	}
	if err != nil {
		return fmt.Errorf("nginx's include file: %w", err)
	}
	return nil
}

// webModel is a fleet's worth of upstreams with all that a line may have.
func webModel(upstreams, servers int) nginxgen.Model {
	var m nginxgen.Model
	for i := range upstreams {
		u := nginxgen.Upstream{Name: fmt.Sprintf("app-%04d", i), Method: []string{"", "least_conn", "random two least_conn"}[i%3], Zone: "64k", Keepalive: 16}
		for j := range servers {
			u.Servers = append(u.Servers, nginxgen.Server{
				Address: fmt.Sprintf("10.%d.%d.%d:8000", i/256, i%256, j+1), Name: fmt.Sprintf("node-%02d", j), Weight: 1 + (i+j)%32,
				MaxFails: 3, FailTimeout: 5 * time.Second, Down: (i+j)%10 == 0,
			})
		}
		m.Upstreams = append(m.Upstreams, u)
	}
	return m
}

// formatted writes the same bytes with nothing but formatting: no check of names and numbers, no reading back.
func formatted(m nginxgen.Model, header []byte) []byte {
	var b bytes.Buffer
	b.Write(header)
	for _, u := range m.Upstreams {
		fmt.Fprintf(&b, "\nupstream %s {\n    zone tidegate_%s %s;\n", u.Name, u.Name, u.Zone)
		if u.Method != "" {
			fmt.Fprintf(&b, "    %s;\n", u.Method)
		}
		fmt.Fprintf(&b, "    keepalive %d;\n", u.Keepalive)
		for _, s := range u.Servers {
			down := ""
			if s.Down {
				down = " down"
			}
			fmt.Fprintf(&b, "    server %s fail_timeout=%ds max_fails=%d weight=%d%s; # %s\n", s.Address, int(s.FailTimeout.Seconds()), s.MaxFails, s.Weight, down, s.Name)
		}
		b.WriteString("}\n")
	}
	return b.Bytes()
}

// task is a contestant that is timed once a round.
type task struct {
	who, what string
	do        func() error
}

// turns lets the tasks take turns, forwards and backwards, and returns milliseconds.
func (w *webBench) turns(tasks ...task) (series, error) {
	s := series{}
	for round := range w.opts.rounds {
		for i := range tasks {
			t := tasks[i]
			if round%2 == 1 {
				t = tasks[len(tasks)-1-i]
			}
			began := time.Now()
			if err := t.do(); err != nil {
				return s, fmt.Errorf("%s: %w", t.what, err)
			}
			s.add(t.who, float64(time.Since(began))/1e6)
		}
	}
	for _, t := range tasks {
		w.printf("  %-52s %s ms\n", t.what, spread(s[t.who]))
	}
	return s, nil
}

func (w *webBench) render() error {
	header, _, _ := bytes.Cut(w.text, []byte("\nupstream"))
	w.printf("\n== nginx's include file: %s upstreams with %d servers each, %.1f MB\n", thousands(webUpstreams), webServers, float64(len(w.text))/1e6)
	tasks := []task{
		{ours, "checked, rendered, read back, compared", func() error {
			text, err := nginxgen.Render(w.model)
			if err == nil && !bytes.Equal(text, w.text) {
				err = errors.New("equal models gave other bytes")
			}
			return err
		}},
		{limit, "formatted (fmt)", func() error {
			if !bytes.Equal(formatted(w.model, header), w.text) {
				return errors.New("the bytes are not the same")
			}
			return nil
		}},
	}
	if w.program != "" {
		for who, model := range map[string]nginxgen.Model{peer: w.model, none: withoutZones(w.model)} {
			conf, err := w.wrapper("test-"+who, model)
			if err != nil {
				return err
			}
			what := map[string]string{peer: "nginx -t of the same file", none: "nginx -t of the file without zones"}[who]
			tasks = append(tasks, task{who, what, func() error {
				if out, err := exec.Command(w.program, "-t", "-q", "-p", w.dir, "-c", conf).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			}})
		}
	}
	s, err := w.turns(tasks...)
	if err != nil {
		return err
	}
	w.printf("  the first takes %s x the second and %s x the third\n", spread(s.ratios(ours, limit)), spread(s.ratios(ours, peer)))
	r := s.conclude("nginx/render", "ms")
	r.None, r.VsNone = 0, 0
	w.line(r)
	return nil
}

func withoutZones(m nginxgen.Model) nginxgen.Model {
	out := nginxgen.Model{}
	for _, u := range m.Upstreams {
		u.Zone = ""
		out.Upstreams = append(out.Upstreams, u)
	}
	return out
}

// wrapper writes a model and a main configuration that includes it and nothing else of weight.
func (w *webBench) wrapper(name string, m nginxgen.Model) (string, error) {
	text, err := nginxgen.Render(m)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(w.dir, name)
	include := filepath.Join(dir, "upstreams.conf")
	conf := filepath.Join(dir, "nginx.conf")
	main := fmt.Sprintf("daemon off;\npid %[1]s/nginx.pid;\nerror_log %[1]s/error.log warn;\nevents { }\nhttp {\naccess_log off;\ninclude %[2]s;\n", dir, include)
	for i, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += fmt.Sprintf("%s_temp_path %s/temp%d;\n", temp, dir, i)
	}
	return conf, firstOf(os.Mkdir(dir, 0o755), os.WriteFile(include, text, 0o644), os.WriteFile(conf, []byte(main+"}\n"), 0o644))
}

// unchanged measures a plan that is what nginx has, as the controller has one each turn.
func (w *webBench) unchanged() error {
	conf, err := w.wrapper("live", w.model)
	if err != nil {
		return err
	}
	include := filepath.Join(filepath.Dir(conf), "upstreams.conf")
	if _, err := w.startServer(w.program, "-p", w.dir, "-c", conf); err != nil {
		return err
	}
	if err := waitFile(filepath.Join(filepath.Dir(conf), "nginx.pid")); err != nil {
		return err
	}
	m, err := nginxgen.New(nginxgen.Options{File: include, Main: conf, Prefix: w.dir, Quiet: -1, MinMembership: -1, MinWeights: -1, VerifyTimeout: time.Minute})
	if err != nil {
		return err
	}
	if out, err := m.Apply(context.Background(), time.Now(), w.model); err != nil || out.Result != nginxgen.Applied {
		return fmt.Errorf("apply the file: %v %w", out.Result, err)
	}
	before, err := os.Stat(include)
	if err != nil {
		return err
	}
	w.printf("\n== nginx's include file: a plan that nginx has already\n")
	s, err := w.turns(
		task{ours, "an unchanged plan, with a look at the live file", func() error {
			out, err := m.Apply(context.Background(), time.Now(), w.model)
			if err == nil && out.Result != nginxgen.Unchanged {
				err = fmt.Errorf("it is called %v: %s", out.Result, out.Why)
			}
			return err
		}},
		task{peer, "checked, rendered, read back, compared", func() error {
			_, err := nginxgen.Render(w.model)
			return err
		}})
	if err != nil {
		return err
	}
	after, err := os.Stat(include)
	if err != nil {
		return err
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		return errors.New("an unchanged plan wrote the file")
	}
	share := s.perRound(ours, peer, func(a, b float64) float64 { return 100 * a / b })
	w.printf("  the first takes %s %% of the second, and writes nothing\n", spread(share))
	w.line(s.conclude("nginx/unchanged", "ms"))
	w.goal("an unchanged plan costs under 5 % of a render", share, 5, true)
	return nil
}

// waitFile waits until a file has a number in it.
func waitFile(path string) error {
	for range 1500 {
		text, _ := os.ReadFile(path)
		if n, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil && n > 0 && n < math.MaxInt32 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("nginx has not written %s within 30 seconds", path)
}
