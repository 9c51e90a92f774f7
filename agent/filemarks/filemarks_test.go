package filemarks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// marksOf puts marks into a new directory.
func marksOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, names...)
	return dir
}

func put(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// child starts a process that lives until the test ends it.
func child(t *testing.T) (proc.ID, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var r proc.Reader
	st, err := r.Stat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return proc.ID{PID: st.PID, Start: st.Start}, cmd
}

func TestCountTellsFamilyStaleAndForeignApart(t *testing.T) {
	mine, _ := child(t)
	other, _ := child(t)
	name := func(p proc.ID, seq int) string { return fmt.Sprintf("b.%d.%d.%d", p.PID, p.Start, seq) }
	dir := marksOf(t, name(mine, 0), name(mine, 1), name(other, 0), name(proc.ID{PID: mine.PID, Start: mine.Start + 1}, 7),
		"README", "b.x.y.z", ".hidden", fmt.Sprintf("w.%d.%d", mine.PID, mine.Start))
	if err := os.Mkdir(filepath.Join(dir, "b.dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := New(dir)
	family := &adapter.Family{Master: proc.ID{PID: 1, Start: 0}, Workers: map[proc.ID]bool{mine: true}}

	c, err := s.Count(family)
	if err != nil || c.Busy != 2 || c.ByProc[mine] != (adapter.Work{Busy: 2, Newest: 2}) || c.Foreign != 4 || !c.Booted[mine] || c.Removed != 0 {
		t.Fatalf("first scan: %+v, %v; want 2 busy, 4 foreign, nothing removed", c, err)
	}
	c, err = s.Count(family)
	if err != nil || c.Busy != 2 || c.Removed != 1 {
		t.Fatalf("second scan: %+v, %v; want the mark with another start time removed", c, err)
	}
	if c, err = s.Count(nil); err != nil || c.Busy != 3 {
		t.Fatalf("without a family: %+v, %v; want all 3 live ones", c, err)
	}
	stale := name(proc.ID{PID: mine.PID, Start: mine.Start + 1}, 7)
	if got := list(t, dir); !strings.Contains(got, "README") || !strings.Contains(got, "b.x.y.z") || strings.Contains(got, stale) {
		t.Fatalf("left in the directory: %s", got)
	}
}

func TestCountTakesZombiesForDead(t *testing.T) {
	p, cmd := child(t)
	dir := marksOf(t, fmt.Sprintf("b.%d.%d.0", p.PID, p.Start), fmt.Sprintf("w.%d.%d", p.PID, p.Start))
	s := New(dir)
	for range 3 {
		if c, err := s.Count(nil); err != nil || c.Busy != 1 {
			t.Fatalf("alive: %+v, %v", c, err)
		}
	}
	// Nobody waits for the killed child yet: it is a zombie with the same start time.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var r proc.Reader
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if st, err := r.Stat(p.PID); err != nil || st.State == 'Z' || time.Now().After(deadline) {
			break
		}
	}
	c, err := s.Count(nil)
	if err != nil || c.Busy != 0 || c.Removed != 2 || list(t, dir) != "" {
		t.Fatalf("zombie: %+v, %v, left %q; want 0 busy and both marks removed", c, err, list(t, dir))
	}
}

func TestCountLeavesAMarkSeenOnceAlone(t *testing.T) {
	dir := marksOf(t, "b.4194304.1.0")
	s := New(dir)
	if c, err := s.Count(nil); err != nil || c.Busy != 1 || c.Removed != 0 {
		t.Fatalf("first scan: %+v, %v", c, err)
	}
	if c, err := s.Count(nil); err != nil || c.Busy != 0 || c.Removed != 1 {
		t.Fatalf("second scan: %+v, %v", c, err)
	}
}

func TestCountIsAnErrorAndNeverZeroWithoutADirectory(t *testing.T) {
	dir := t.TempDir()
	s := New(filepath.Join(dir, "no"))
	if _, err := s.Count(nil); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("missing directory: %v", err)
	}
	put(t, dir, "no")
	if _, err := s.Count(nil); err == nil {
		t.Error("a file in the directory's place was accepted")
	}
}

// The directory is kept open, and it is still the one at the path that counts: a new one in its place, or none.
func TestCountGoesByThePath(t *testing.T) {
	dir := marksOf(t, "b.4194304.1.0")
	s := New(dir)
	defer s.Close()
	if c, err := s.Count(nil); err != nil || c.Busy != 1 {
		t.Fatalf("at first: %+v, %v", c, err)
	}
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Count(nil); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("moved away: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "b.4194303.1.0", "b.4194302.1.0")
	if c, err := s.Count(nil); err != nil || c.Busy != 2 {
		t.Fatalf("another one in its place: %+v, %v", c, err)
	}
	put(t, dir, "b.4194301.1.0")
	if c, err := s.Count(nil); err != nil || c.Busy != 1 || c.Removed != 2 {
		t.Fatalf("read again: %+v, %v; want the new mark alone, and two stale ones removed", c, err)
	}
}

// A stale mark that cannot be removed is said to be there, at each scan, and never counts again.
func TestAStaleMarkThatStaysDoesNotCount(t *testing.T) {
	p, cmd := child(t)
	dir := marksOf(t, fmt.Sprintf("w.%d.%d", p.PID, p.Start))
	name := fmt.Sprintf("b.%d.%d.0", p.PID, p.Start)
	// A folder in a mark's place cannot be unlinked.
	if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	s := New(dir)
	defer s.Close()
	for range 3 {
		if c, err := s.Count(nil); err != nil || c.Busy != 1 {
			t.Fatalf("alive: %+v, %v", c, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for range 5 {
		if c, err := s.Count(nil); err != nil || c.Busy != 0 || c.Problem == "" {
			t.Fatalf("dead: %+v, %v; want 0 busy and a problem", c, err)
		}
	}
}
