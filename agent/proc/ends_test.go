package proc

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start starts a process that sleeps until it is killed or the test ends.
func start(t *testing.T) (*exec.Cmd, ID) {
	t.Helper()
	c := exec.Command("sleep", "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	var r Reader
	st, err := r.Stat(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return c, ID{st.PID, st.Start}
}

func TestEnds(t *testing.T) {
	for _, pidfds := range []bool{true, false} {
		var e Ends
		var ids []ID
		var cmds []*exec.Cmd
		for range 5 {
			c, id := start(t)
			cmds, ids = append(cmds, c), append(ids, id)
		}
		for _, id := range ids {
			for range 2 { // the second time it is watched already
				if !e.Watch(id) {
					t.Fatalf("%v cannot be watched", id)
				}
			}
		}
		var fds []int
		for _, fd := range e.held.of {
			fds = append(fds, fd)
		}
		if !pidfds { // as when no more files may be opened
			e.Close()
			for _, id := range ids {
				e.plain[id] = true
			}
		}
		if e.Watch(ID{ids[0].PID, ids[0].Start + 1}) || e.Watch(ID{MaxPID, 1}) {
			t.Error("a process that is none is watched")
		}
		var gone []ID
		look := func() []ID {
			gone = nil
			if !e.Look(func(p ID) { gone = append(gone, p) }) {
				t.Error("nothing was learned")
			}
			return gone
		}
		if len(look()) != 0 {
			t.Errorf("ended: %v", gone)
		}
		for _, i := range []int{1, 3} { // killed, and nobody waits for them: zombies
			if err := cmds[i].Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		var all []ID
		for deadline := time.Now().Add(20 * time.Second); len(all) < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			all = append(all, look()...)
		}
		if len(all) != 2 || !slices.Contains(all, ids[1]) || !slices.Contains(all, ids[3]) || len(look()) != 0 {
			t.Errorf("ended: %v, want %v and %v, once", all, ids[1], ids[3])
		}
		e.Keep(func(p ID) bool { return p == ids[4] })
		if len(e.ids)+len(e.plain) != 1 {
			t.Errorf("watched: %v, %v", e.ids, e.plain)
		}
		e.Close()
		for _, fd := range fds {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
				t.Errorf("a pidfd is left: %v", err)
			}
		}
	}
}

// shell is a process whose children can be told to come and to go.
func TestChildren(t *testing.T) {
	c := exec.Command("sh", "-c", "while read word; do if [ $word = more ]; then sleep 600 & echo $!; else kill $word; wait $word; echo gone; fi; done")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	say := func(word string) string {
		if _, err := in.Write([]byte(word + "\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		n, err := out.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n-1])
	}
	var r Reader
	st, err := r.Stat(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	master := ID{st.PID, st.Start}
	var k Children
	look := func(want ...string) {
		t.Helper()
		for range 3 { // again, when nothing has changed
			ids, err := k.Look(master)
			var got []string
			for _, id := range ids {
				got = append(got, strconv.Itoa(id.PID))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("children %v, %v, want %v", got, err, want)
			}
			clear(ids) // the caller may do as it likes
		}
	}
	look()
	a := say("more")
	look(a)
	b := say("more")
	look(a, b)
	x := say("more")
	look(a, b, x)
	// A child that nobody waits for yet is none.
	pid, _ := strconv.Atoi(b)
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ids, err := k.Look(master); err == nil && len(ids) == 2 {
			break
		}
	}
	look(a, x)
	say(a)
	look(x)
	y := say("more")
	look(x, y)
	t.Cleanup(func() {
		for _, pid := range []string{x, y} {
			n, _ := strconv.Atoi(pid)
			if p, err := os.FindProcess(n); err == nil {
				_ = p.Kill()
			}
		}
	})
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if ids, err := k.Look(master); err == nil {
		t.Errorf("the master has ended: %v", ids)
	}
}
