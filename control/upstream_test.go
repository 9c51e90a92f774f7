package control

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/core"
)

// fakeNames knows what it is given.
type fakeNames struct {
	at      map[string]string
	trouble error
}

func (f fakeNames) Address(address string) string {
	host, port, _ := strings.Cut(address, ":")
	if !strings.HasSuffix(host, ".example") {
		return address
	}
	if ip := f.at[host]; ip != "" {
		return ip + ":" + port
	}
	return ""
}

func (f fakeNames) Trouble() error { return f.trouble }

func namedSetup(names map[string]string, trouble error) Setup {
	app := App{
		Policy:    core.AppPolicy{Name: "shop", Proxied: true, Web: true, Servers: []core.ServerPolicy{{Name: "a"}, {Name: "b"}, {Name: "c", Address: "10.0.0.3:80"}}},
		Readdress: true,
		Servers:   []Server{{Name: "a", Address: "a.example:80"}, {Name: "b", Address: "b.example:80"}, {Name: "c", Address: "10.0.0.3:80"}},
		Upstream: WebUpstream{Name: "shop", Servers: []WebServer{
			{Name: "gone", Address: "10.0.0.9:80", Down: true},
			{Name: "a", Address: "a.example:80", Workers: 8}, {Name: "b", Address: "b.example:80", Workers: 8},
			{Name: "c", Address: "10.0.0.3:80", Workers: 8}, {Name: "spare", Address: "spare.example:80", Backup: true},
		}},
	}
	return Setup{Apps: []App{app}, Names: fakeNames{names, trouble}}
}

func TestLinesOfAnUpstream(t *testing.T) {
	weights := []core.WebServer{{Server: "a", Weight: 3}, {Server: "b", Weight: 4}, {Server: "c"}}
	for name, c := range map[string]struct {
		names map[string]string
		want  []string
	}{
		"all names are known": {map[string]string{"a.example": "10.0.0.1", "b.example": "10.0.0.2", "spare.example": "10.0.0.4"},
			[]string{"gone 10.0.0.9:80 0", "a 10.0.0.1:80 3", "b 10.0.0.2:80 4", "c 10.0.0.3:80 0", "spare 10.0.0.4:80 0"}},
		"none is": {nil, []string{"gone 10.0.0.9:80 0", "a  3", "b  4", "c 10.0.0.3:80 0", "spare  0"}},
		"two are one": {map[string]string{"a.example": "10.0.0.1", "b.example": "10.0.0.1", "spare.example": "10.0.0.3"},
			[]string{"gone 10.0.0.9:80 0", "a 10.0.0.1:80 3", "c 10.0.0.3:80 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := namedSetup(c.names, nil)
			var got []string
			for _, w := range s.webUpstream(&s.Apps[0], weights).Servers {
				got = append(got, strings.Join([]string{w.Name, w.Address, string(rune('0' + w.Weight))}, " "))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Fatal(diff)
			}
			if s.Apps[0].Upstream.Servers[1].Weight != 0 || s.Apps[0].Upstream.Servers[1].Address != "a.example:80" {
				t.Fatal("the setup itself was changed")
			}
		})
	}
}

func TestTroubleWithNamesIsOneSentenceEach(t *testing.T) {
	s := namedSetup(map[string]string{"a.example": "10.0.0.1", "b.example": "10.0.0.1"}, errors.New("spare.example cannot be resolved"))
	err := s.nameTrouble()
	if want := "spare.example cannot be resolved; the servers a and b of shop are both at 10.0.0.1:80: the second is left out of nginx"; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	if err := namedSetup(map[string]string{"a.example": "10.0.0.1", "b.example": "10.0.0.2"}, nil).nameTrouble(); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyHasTheAddressesOfNames: HAProxy is told addresses; where none is known its own is left alone.
func TestPolicyHasTheAddressesOfNames(t *testing.T) {
	s := namedSetup(map[string]string{"a.example": "10.0.0.1"}, nil)
	var got []string
	p := s.policy(time.Now())
	for _, srv := range p.Apps[0].Servers {
		got = append(got, srv.Address)
	}
	if diff := cmp.Diff([]string{"10.0.0.1:80", "", "10.0.0.3:80"}, got); diff != "" {
		t.Fatal(diff)
	}
	if s.address(&s.Apps[0], "a") != "10.0.0.1:80" || s.address(&s.Apps[0], "b") != "" {
		t.Fatal("a step has another address than the policy")
	}
	// The journal begins anew when a name moves: otherwise a replay would decide by another address.
	if moved := namedSetup(map[string]string{"a.example": "10.0.0.5"}, nil).policy(time.Now()); samePolicy(p, moved) || !samePolicy(p, s.policy(time.Now())) {
		t.Fatal("a name that moved is the same policy")
	}
	s.Apps[0].Readdress = false
	if a := s.policy(time.Now()).Apps[0].Servers[0].Address; a != "" {
		t.Fatalf("HAProxy would be told %s though its addresses are its own", a)
	}
}

// TestWarmUpGoesWhereTheOthersGo: a warm-up request to a name is sent to the address that nginx and HAProxy have.
func TestWarmUpGoesWhereTheOthersGo(t *testing.T) {
	hosts := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hosts <- r.Host }))
	defer srv.Close()
	ip, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	done := make(chan error, 1)
	w := newWarmer(func(_, _ string, err error) { done <- err }, fakeNames{at: map[string]string{"a.example": ip}}.Address)
	w.start(t.Context(), "shop", Server{Name: "a", WarmURL: "http://a.example:" + port + "/warm", WarmTimeout: 10 * time.Second})
	w.wait()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if host := <-hosts; host != "a.example:"+port {
		t.Fatalf("the app was asked as %q", host)
	}
}
