package nginxgen_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
)

// onSmallDisk moves a fleet's files to a disk of their own, which can be filled and made read-only.
func (f *fleet) onSmallDisk() (readOnly func(bool)) {
	f.t.Helper()
	if os.Geteuid() != 0 {
		f.t.Skip("mounting a small disk needs root")
	}
	dir := f.opts.Folder
	files := f.files()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		f.t.Skipf("mount a small disk: %v", err)
	}
	f.t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	for path, text := range files {
		f.must(os.WriteFile(path, []byte(text), 0o644))
	}
	return func(yes bool) {
		f.t.Helper()
		flags := uintptr(syscall.MS_REMOUNT)
		if yes {
			flags |= syscall.MS_RDONLY
		}
		f.must(syscall.Mount("", dir, "", flags, "size=64k"))
	}
}

// The disk becomes read-only between two steps of a change: what is left is accepted by nginx, an error says it, and the
// change is made once the disk is well again.
func TestDiskBecomesReadOnlyInTheMiddle(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		f := newFleet(t, "app", "api")
		readOnly := f.onSmallDisk()
		m := with(f.manager())
		f.apply(m, f.want("app 1 2", "api 1 2"), nginxgen.Applied)
		for i, at := range []string{"staged", "noted", "swapped " + f.rig.Path("conf", "tidegate-app.conf"), "swapped " + f.rig.Path("conf", "tidegate-api.conf"), "signalled", "loaded"} {
			want := [][]string{{"app 2 1", "api 2 1"}, {"app 1 2", "api 1 2"}}[i%2]
			reached := false
			m.At(func(step string) {
				if step == at && !reached {
					reached = true
					readOnly(true)
				}
			})
			now := time.Now().Add(time.Duration(i) * time.Hour)
			out, err := m.Apply(t.Context(), now, f.want(want...))
			if !reached {
				t.Fatalf("never got to %q", at)
			}
			m.At(nil)
			// Once both files are swapped, nothing but the copies is missing.
			if late := i >= 3; late != (out.Result == nginxgen.Applied) || !late && !strings.Contains(err.Error(), "read-only file system") {
				t.Fatalf("read-only after %q: %+v %v", at, out, err)
			}
			f.must(f.tests())
			readOnly(false)
			// Another process takes over.
			if m = with(f.manager()); m.Recover(t.Context()) != nil {
				t.Fatal("it cannot recover")
			}
			if out, err := m.Apply(t.Context(), now.Add(30*time.Minute), f.want(want...)); err != nil || out.Result != nginxgen.Applied {
				t.Fatalf("after %q, writable again: %+v %v", at, out, err)
			}
			f.waitServes(want...)
		}
	})
}

// The disk is full from some step on.
func TestDiskFillsUpInTheMiddle(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		f := newFleet(t, "app", "api")
		f.onSmallDisk()
		m := with(f.manager())
		f.apply(m, f.want("app 1 2", "api 1 2"), nginxgen.Applied)
		filler := filepath.Join(f.opts.Folder, ".filler")
		m.At(func(step string) {
			if step == "staged" {
				_ = os.WriteFile(filler, make([]byte, 1<<20), 0o644)
			}
		})
		good := f.files()
		f.says(f.apply(m, f.want("app 2 1", "api 2 1"), nginxgen.Failed), "no space left on device")
		f.keeps(good)
		f.must(f.tests())
		// Going back needs no space.
		f.must(os.Remove(filler))
		f.opts.ReloadCommand = []string{"/bin/false"}
		back := with(f.manager()).At(func(step string) {
			if step == "noted" {
				_ = os.WriteFile(filler, make([]byte, 1<<20), 0o644)
			}
		})
		f.says(f.apply(back, f.want("app 2 1", "api 2 1"), nginxgen.RolledBack), "/bin/false")
		f.keeps(good)
		f.must(os.Remove(filler))
		m.At(nil)
		f.apply(m, f.want("app 2 1", "api 2 1"), nginxgen.Applied)
		f.serves("app 2 1", "api 2 1")
	})
}
