package haproxy_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// Only answers of the server that are no errors of it count; in TCP mode nobody counts them.
func TestGoodAnswersAreCounted(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/elsewhere":
			w.WriteHeader(http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer app.Close()
	addr := app.Listener.Addr().String()
	front := "127.0.0.1:" + port(t, rig)
	h := start(t, rig, "", "listen web\n    bind "+front+"\n    server s1 "+addr+"\n\nlisten raw\n    mode tcp\n    bind 127.0.0.1:"+port(t, rig)+"\n    server s1 "+addr+"\n")
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
	if n := server(t, observe(t, c, "web"), "web", "s1").Answers; n != 0 {
		t.Errorf("%d good answers before the first request", n)
	}
	web := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/", "/missing", "/elsewhere", "/broken"} {
		resp, err := web.Get("http://" + front + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	state := observe(t, c, "web", "raw")
	if n := server(t, state, "web", "s1").Answers; n != 3 {
		t.Errorf("%d good answers of four, want 3", n)
	}
	if n := server(t, state, "raw", "s1").Answers; n != -1 {
		t.Errorf("in TCP mode %d good answers, want -1", n)
	}
}
