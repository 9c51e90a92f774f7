package filemarks

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/agent/proc"
)

func TestParseMark(t *testing.T) {
	for _, c := range []struct {
		name string
		want mark
		ok   bool
	}{
		{"b.12.345.0", mark{'b', proc.ID{PID: 12, Start: 345}, 0}, true},
		{"b.4194304.99999999.18446744", mark{'b', proc.ID{PID: 4194304, Start: 99999999}, 18446744}, true},
		{"w.12.345", mark{'w', proc.ID{PID: 12, Start: 345}, 0}, true},
		{"w.12.0", mark{'w', proc.ID{PID: 12, Start: 0}, 0}, true},
		{name: ""}, {name: "b"}, {name: "b."}, {name: "b.12"}, {name: "b.12.345"}, {name: "b.12.345."},
		{name: "w.12.345.6"}, {name: "w.12."}, {name: "x.12.345"}, {name: "B.12.345.6"}, {name: ".b.12.345.6"},
		{name: "b.012.345.6"}, {name: "b.12.0345.6"}, {name: "b.12.345.06"}, {name: "b.0.345.6"},
		{name: "b.+12.345.6"}, {name: "b.-1.345.6"}, {name: "b.12.345.6.7"}, {name: "b.4194305.1.1"},
		{name: "b.12.99999999999999999999.6"}, {name: "b. 12.345.6"}, {name: "b.12.345.6~"},
		{name: "b." + strings.Repeat("1", 200)},
	} {
		got, ok := parseMark([]byte(c.name))
		if ok != c.ok || (ok && got != c.want) {
			t.Errorf("%q: got %v %v, want %v %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	for _, s := range []string{"b.12.345.0", "w.12.345", "b.12.345", "w.12.345.6", "b.4194305.1.1", "b..."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		m, ok := parseMark(name)
		if !ok {
			return
		}
		// A name that is taken has one spelling: no two names mean the same mark.
		again := fmt.Sprintf("w.%d.%d", m.proc.PID, m.proc.Start)
		if m.kind == 'b' {
			again = fmt.Sprintf("b.%d.%d.%d", m.proc.PID, m.proc.Start, m.seq)
		}
		if again != string(name) || m.proc.PID < 1 || m.proc.PID > proc.MaxPID {
			t.Fatalf("%q was read as %v", name, m)
		}
	})
}

func FuzzEntries(f *testing.F) {
	record := func(length uint16, name string) []byte {
		b := make([]byte, 19, 64)
		binary.NativeEndian.PutUint64(b, 7)
		binary.NativeEndian.PutUint16(b[16:], length)
		return append(append(b, name...), make([]byte, int(length)-19-len(name))...)
	}
	f.Add(append(record(32, "b.1.2.3"), record(24, ".")...))
	f.Add(record(32, "x")[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = entries(b, func(name []byte) bool {
			if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 {
				t.Fatalf("the name %q", name)
			}
			return true
		})
	})
}

func TestScanSeesWhatIsThereAndNoMoreThanAllowed(t *testing.T) {
	dir := t.TempDir()
	want := map[string]bool{}
	for i := range 3000 {
		name := fmt.Sprintf("b.1.2.%d", i)
		want[name] = true
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var d dirScanner
	seen, ended := 0, false
	err := d.scan(dir, 3000, func(name []byte) {
		if !want[string(name)] {
			t.Errorf("%q is not there", name)
		}
		delete(want, string(name))
		seen++
	}, func(int) { ended = true })
	if err != nil || seen != 3000 || len(want) != 0 || !ended {
		t.Fatalf("saw %d of 3000, %d left, %v", seen, len(want), err)
	}
	seen = 0
	if err := d.scan(dir, 2999, func([]byte) { seen++ }, func(int) {}); err == nil || seen != 2999 {
		t.Fatalf("with 2999 allowed: saw %d, error %v", seen, err)
	}
}

func BenchmarkCount(b *testing.B) {
	dir := b.TempDir()
	var r proc.Reader
	self, err := r.Stat(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		name := fmt.Sprintf("b.%d.%d.%d", self.PID, self.Start, i)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	s := New(dir)
	b.ReportAllocs()
	for b.Loop() {
		if c, err := s.Count(nil); err != nil || c.Busy != 1000 {
			b.Fatalf("%+v, %v", c, err)
		}
	}
}
