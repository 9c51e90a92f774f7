package phpfpm

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/conf/marks"
)

// newMarked is a site whose pool makes marks below a folder that everybody may write, with further lines, in which {{MARKS}}
// stands for the one that names the folder.
func newMarked(t *testing.T, children int, lines string) (*site, string) {
	t.Helper()
	dir := t.TempDir() // of the test's user; php-fpm's writes elsewhere
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir = filepath.Join(dir, "marks")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "deep", "shop") // to be made by the first request
	pm := fmt.Sprintf("pm = static\npm.max_children = %d\nphp_admin_value[auto_prepend_file] = {{DIR}}/lib/%s\n%s",
		children, marks.PHPFile, strings.ReplaceAll(lines, "{{MARKS}}", "env[TIDEGATE_MARKS] = "+dir))
	s := newSite(t, "unix", "process_control_timeout = 20", pm)
	if _, err := s.Rig.Write("lib/"+marks.PHPFile, marks.PHP); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// names lists the marks of a kind, "b." or "w.".
func names(t *testing.T, dir, kind string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), kind) {
			all = append(all, e.Name())
		}
	}
	return all
}

// answer is the status and the body of one request.
func (s *site) answer(path string) string {
	s.T.Helper()
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(s.URL + path)
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, b)
}

func TestMarksOfEveryEnd(t *testing.T) {
	s, dir := newMarked(t, 1, "{{MARKS}}")
	none := func(after string) {
		t.Helper()
		s.WaitFor("no mark after "+after, func() bool { return len(names(t, dir, "b.")) == 0 })
	}
	s.App = agent.App{Name: "shop", Source: WithMarks(filemarks.New(dir)), Actuator: New(s.opt), Min: 1, Max: 4}
	s.StartAgent()
	// A child that has not served yet is ready all the same.
	s.Wait("one ready child", func(r agent.AppReport) bool { return r.WorkersKnown && r.Ready == 1 && r.Starting == 0 })
	for _, c := range []struct{ do, want string }{
		{"", "200 ok\n"}, {"last", "200 ok\n"}, {"throw", "500 "}, {"fatal", "500 "}, {"exit", "200 ok\n"}, {"timeout", "500 "},
		{"memory", "500 "}, {"late-exit", "200 ok\n"}, {"late-fatal", "500 ok\n"}, {"handler", "200 ok\n"},
	} {
		if got := s.answer("/?do=" + c.do); got != c.want {
			t.Errorf("%q: %q, want %q", c.do, got, c.want)
		}
		none(c.do)
		if n := len(names(t, dir, "w.")); n != 1 {
			t.Errorf("%q: %d marks of idle processes, want 1", c.do, n)
		}
	}
	// A process works on after its answer, and on what the application does at the end.
	for _, path := range []string{"/?do=finish&ms=1500", "/?do=late"} {
		end := s.Begin(1, path)
		s.Wait("one busy", func(r agent.AppReport) bool { return r.Known && r.Busy == 1 })
		end()
		none(path)
	}
	// The only end that leaves a mark lasts until the process begins the next request.
	if r := s.Report(); r.Problem != "" {
		t.Errorf("the problem is %q", r.Problem)
	}
	s.answer("/?do=late-memory")
	s.Wait("one busy", func(r agent.AppReport) bool { return r.Busy == 1 })
	time.Sleep(500 * time.Millisecond) // the request is over, its mark is not
	if n := names(t, dir, "b."); len(n) != 1 {
		t.Errorf("the marks are %v: do they never stay? The documentation says they do", n)
	}
	s.answer("/")
	none("the next request")
	if log := s.errorLog(); strings.Contains(log, "tidegate") {
		t.Errorf("php-fpm's log names the marks: %s", log)
	}
}

func TestCountsByMarks(t *testing.T) {
	s, dir := newMarked(t, 3, "{{MARKS}}")
	s.App = agent.App{Name: "shop", Source: WithMarks(filemarks.New(dir)), Actuator: New(s.opt), Min: 1, Max: 4}
	s.StartAgent()
	s.answer("/")
	s.Counts(3, "/?ms=1500")

	s.Begin(1, "/?ms=8000")
	s.Wait("one busy", func(r agent.AppReport) bool { return r.Busy == 1 })
	var pid int
	var start uint64
	mark := names(t, dir, "b.")
	if len(mark) != 1 {
		t.Fatalf("the marks are %v", mark)
	}
	if _, err := fmt.Sscanf(mark[0], "b.%d.%d.", &pid, &start); err != nil || pid < 2 {
		t.Fatalf("%s: %v", mark[0], err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Wait("none busy", func(r agent.AppReport) bool { return r.Known && r.Busy == 0 })
	s.WaitFor("the stale mark to be removed", func() bool { return len(names(t, dir, "b.")) == 0 })
	s.Settled(3)
	// Marks count, the ceiling file steers.
	s.Target(2)
	if r := s.Settled(2); r.Busy != 0 {
		t.Errorf("after the change: %+v", r)
	}
	s.Wait("no problem", func(r agent.AppReport) bool { return r.Known && r.Problem == "" })
}

func TestMarksThatCannotBeMadeFailNothing(t *testing.T) {
	for _, c := range []struct{ name, lines string }{
		{"no directory is named", ""},
		{"the directory cannot be made", "env[TIDEGATE_MARKS] = /proc/no/such"},
		{"proc may not be read", "{{MARKS}}\nphp_admin_value[open_basedir] = {{DIR}}"},
		{"functions are disabled", "{{MARKS}}\nphp_admin_value[disable_functions] = getmypid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := newMarked(t, 1, c.lines)
			for _, do := range []string{"", "last", "exit", "handler"} {
				if got := s.answer("/?do=" + do); got != "200 ok\n" {
					t.Errorf("%q: %q", do, got)
				}
			}
			if got := s.answer("/?do=fatal"); got != "500 " {
				t.Errorf("fatal: %q", got)
			}
			if n := names(t, dir, ""); len(n) != 0 {
				t.Errorf("there are the marks %v", n)
			}
		})
	}
	t.Run("the directory goes away", func(t *testing.T) {
		s, dir := newMarked(t, 1, "{{MARKS}}")
		s.answer("/")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if got := s.answer("/?do=last"); got != "200 ok\n" {
			t.Errorf("afterwards: %q", got)
		}
		s.WaitFor("the marks to be made again", func() bool { return len(names(t, dir, "w.")) == 1 })
	})
}
