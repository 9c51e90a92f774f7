package conf

import (
	"testing"
	"time"
)

func TestServersOfPHPAndRuby(t *testing.T) {
	a, err := LoadAgent("testdata/good/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apps := map[string]AgentApp{}
	for _, app := range a.Apps {
		apps[app.Name] = app
	}
	if g := apps["modern"].Gunicorn; g == nil || *g != (AgentGunicorn{Control: "/run/gunicorn/modern.ctl"}) {
		t.Errorf("modern: %+v", g)
	}
	want := AgentPHPFPM{PIDFile: "/run/php/php8.2-fpm.pid", Pool: "blog", Status: "unix:/run/php/blog-status.sock", StatusPath: "/status",
		CeilingFile: "/etc/php/8.2/fpm/tidegate-blog.conf", MinDistance: 10 * time.Minute}
	if f := apps["blog"].PHPFPM; f == nil || *f != want || apps["blog"].Marks != "" {
		t.Errorf("blog: %+v", f)
	}
	want = AgentPHPFPM{PIDFile: "/run/php/php8.2-fpm.pid", Pool: "forum", Status: "127.0.0.1:9002", StatusPath: "/fpm-status", MinDistance: 5 * time.Minute}
	if f := apps["forum"].PHPFPM; f == nil || *f != want || apps["forum"].Marks == "" {
		t.Errorf("forum: %+v", f)
	}
	if p := apps["wagon"].Passenger; p == nil || *p != (AgentPassenger{Registry: "/run/passenger", App: "/srv/wagon"}) {
		t.Errorf("wagon: %+v", p)
	}
}
