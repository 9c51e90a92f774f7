package names

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantAddress(t *testing.T, r *Resolver, address, want string) {
	t.Helper()
	if got := r.Address(address); got != want {
		t.Fatalf("%s is %q, want %q (trouble: %v)", address, got, want, r.Trouble())
	}
}

func wantTrouble(t *testing.T, r *Resolver, words ...string) {
	t.Helper()
	err := r.Trouble()
	if len(words) == 0 && err != nil {
		t.Fatalf("unexpected trouble: %v", err)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Fatalf("want trouble with %q, got %v", w, err)
		}
	}
}

func TestAddressesWithoutNamesAreLeftAlone(t *testing.T) {
	r := New(Options{})
	for _, a := range []string{"10.0.0.1:80", "[::1]:80", "unix:/run/a.sock", "unix:/run/a:80", ""} {
		wantAddress(t, r, a, a)
	}
	r.Want(context.Background(), []string{"10.0.0.1:80", "unix:/run/a:80"}, 0)
	wantTrouble(t, r)
}

func TestOneAddressOfSeveralAndItStays(t *testing.T) {
	d := startDNS(t)
	d.set("app.example", "fd00::1", "10.0.0.12", "10.0.0.3")
	r := New(Options{Lookup: d.lookup})
	ctx := context.Background()
	again := func() { r.expire(); r.Want(ctx, []string{"App.Example.:8000"}, 0) }
	again()
	wantAddress(t, r, "app.example:8000", "10.0.0.3:8000")
	wantTrouble(t, r)
	// Another order, and a lower address: the one in use is among them.
	d.set("app.example", "10.0.0.3", "10.0.0.2", "10.0.0.12")
	again()
	wantAddress(t, r, "app.example:8000", "10.0.0.3:8000")
	d.set("app.example", "10.0.0.12", "fd00::1")
	again()
	wantAddress(t, r, "app.example:8000", "10.0.0.12:8000")
	d.set("app.example", "fd00::2", "fd00::1")
	again()
	wantAddress(t, r, "APP.example:8000", "[fd00::1]:8000")
	// Nothing that a server can have.
	d.set("app.example", "0.0.0.0", "fe80::1", "224.0.0.1")
	again()
	wantAddress(t, r, "app.example:8000", "[fd00::1]:8000")
	wantTrouble(t, r, "app.example cannot be resolved", "its last address fd00::1 stays in use")
}

func TestTheLastGoodAnswerStaysWhileDNSFails(t *testing.T) {
	d := startDNS(t)
	d.set("app.example", "10.0.0.1")
	file := filepath.Join(t.TempDir(), "names.json")
	r := New(Options{Lookup: d.lookup, File: file})
	ctx := context.Background()
	r.Want(ctx, []string{"app.example:80", "never.example:80"}, 0)
	wantAddress(t, r, "app.example:80", "10.0.0.1:80")
	wantAddress(t, r, "never.example:80", "")
	wantTrouble(t, r, "never.example cannot be resolved", "no address of it is known: its servers are left out")
	d.fail(true)
	r.expire()
	r.Want(ctx, []string{"app.example:80"}, 0)
	wantAddress(t, r, "app.example:80", "10.0.0.1:80")
	wantTrouble(t, r, "app.example cannot be resolved", "its last address 10.0.0.1 stays in use")
	// The name is gone from DNS: no reason to take a server out that may well serve.
	d.fail(false)
	d.set("app.example")
	r.expire()
	r.Want(ctx, []string{"app.example:80"}, 0)
	wantAddress(t, r, "app.example:80", "10.0.0.1:80")
	// A new process while DNS is away.
	d.fail(true)
	next := New(Options{Lookup: d.lookup, File: file})
	wantAddress(t, next, "app.example:80", "10.0.0.1:80")
	next.Want(ctx, []string{"app.example:80"}, 0)
	wantAddress(t, next, "app.example:80", "10.0.0.1:80")
	wantTrouble(t, next, "its last address 10.0.0.1 stays in use")
	d.fail(false)
	d.set("app.example", "10.0.0.2")
	next.expire()
	next.Want(ctx, []string{"app.example:80"}, 0)
	wantAddress(t, next, "app.example:80", "10.0.0.2:80")
	wantTrouble(t, next)
}

func TestAFileThatIsBrokenCostsItsAnswersAlone(t *testing.T) {
	d := startDNS(t)
	d.set("app.example", "10.0.0.1")
	file := filepath.Join(t.TempDir(), "names.json")
	if err := os.WriteFile(file, []byte(`{"app.example": "10.0.0.300"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := New(Options{Lookup: d.lookup, File: file})
	wantAddress(t, r, "app.example:80", "")
	r.Want(context.Background(), []string{"app.example:80"}, 0)
	wantAddress(t, r, "app.example:80", "10.0.0.1:80")
	if text, err := os.ReadFile(file); err != nil || string(text) != "{\"app.example\":\"10.0.0.1\"}\n" {
		t.Fatalf("%q %v", text, err)
	}
	// A folder in the temporary file's place stands for a disk that takes no more files.
	if err := os.Mkdir(file+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	d.set("app.example", "10.0.0.2")
	r.expire()
	r.Want(context.Background(), []string{"app.example:80"}, 0)
	wantAddress(t, r, "app.example:80", "10.0.0.2:80")
	wantTrouble(t, r, "keep the addresses of names over a restart")
}

// TestRunLooksAgain: the resolver notices by itself that a name moves, and that DNS is back.
func TestRunLooksAgain(t *testing.T) {
	d := startDNS(t)
	d.set("app.example", "10.0.0.1")
	r := New(Options{Lookup: d.lookup})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	defer func() { stop(); <-done }()
	r.Want(ctx, []string{"app.example:80"}, 20*time.Millisecond)
	wantAddress(t, r, "app.example:80", "10.0.0.1:80")
	until := func(want string) {
		t.Helper()
		for range 1000 {
			if r.Address("app.example:80") == want && r.Trouble() == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("app.example is %s after ten seconds, want %s", r.Address("app.example:80"), want)
	}
	d.set("app.example", "10.0.0.2")
	until("10.0.0.2:80")
	d.fail(true)
	for range 1000 {
		if r.Trouble() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	wantAddress(t, r, "app.example:80", "10.0.0.2:80")
	d.set("app.example", "10.0.0.3")
	d.fail(false)
	until("10.0.0.3:80")
}

// FuzzAddress: whatever stands in an address and whatever DNS answers, a name becomes an IP address and a port, or nothing.
func FuzzAddress(f *testing.F) {
	f.Add("app.example:80", []byte{10, 0, 0, 1}, "")
	f.Add("app.example:80; } server {", []byte{10, 0, 0, 1}, "")
	f.Add("x; } server {:80", []byte("sixteen bytes..."), "eth0; } server {")
	f.Add("[::1%x;]:80", []byte{255, 255, 255, 255}, "")
	f.Add("unix:/a:80", []byte(nil), "")
	f.Fuzz(func(t *testing.T, address string, answer []byte, zone string) {
		ip, _ := netip.AddrFromSlice(answer)
		r := New(Options{Lookup: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{ip.WithZone(zone)}, nil }})
		r.Want(context.Background(), []string{address}, 0)
		got := r.Address(address)
		if Host(address) == "" {
			if got != address || r.Trouble() != nil {
				t.Fatalf("%q has no name and became %q (%v)", address, got, r.Trouble())
			}
			return
		}
		if got == "" {
			return
		}
		if ap, err := netip.ParseAddrPort(got); err != nil || ap.Addr().Zone() != "" || ap.Addr() != ip.Unmap().WithZone("") {
			t.Fatalf("%q became %q", address, got)
		}
	})
}

// TestWhateverDNSSaysIsAnAddress: no answer becomes anything but an IP address and the port of the configuration.
func TestWhateverDNSSaysIsAnAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addrs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Addr {
			raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
			if rapid.Bool().Draw(t, "v4") {
				raw = raw[:4]
			}
			a, _ := netip.AddrFromSlice(raw)
			if rapid.IntRange(0, 5).Draw(t, "zone") == 0 {
				a = a.WithZone("x; } server {")
			}
			return a
		}), 0, 5).Draw(t, "answers")
		r := New(Options{Lookup: func(context.Context, string) ([]netip.Addr, error) { return addrs, nil }})
		r.Want(context.Background(), []string{"a.example:80"}, 0)
		got := r.Address("a.example:80")
		if got == "" {
			if r.Trouble() == nil {
				t.Fatal("no address, and no word about it")
			}
			return
		}
		ap, err := netip.ParseAddrPort(got)
		if err != nil || ap.Port() != 80 || ap.Addr().Zone() != "" || ap.Addr().IsUnspecified() {
			t.Fatalf("%v became %q", addrs, got)
		}
	})
}
