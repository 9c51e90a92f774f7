package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/tests/harness"
)

// The whole way of a new user: read, write, insert, check, run, take out again.
func TestInitOnDebianFromBeginningToEnd(t *testing.T) {
	harness.Need(t, "haproxy", "nginx")
	if os.Getuid() != 0 {
		t.Skip("chroot and user of Debian's haproxy.cfg need root")
	}
	rig := harness.ForTest(t)
	front, listen, web, parked := addr(t, rig), addr(t, rig), addr(t, rig), addr(t, rig)
	shop, blog := origin(t), origin(t)
	for _, dir := range []string{"jail", "conf.d"} {
		if err := os.Mkdir(rig.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	haproxyCfg := rig.MustWrite(t, "haproxy.cfg", debianGlobal(rig)+fmt.Sprintf(`
frontend web
	bind %s
	use_backend blog if { path_beg /blog }
	default_backend shop

backend shop # the shop
	balance leastconn
	default-server check inter 200ms weight 100
	server s1 %s
	server s2 %s disabled

backend blog
	option redispatch
	server b1 %s weight 100

listen whole
	bind %s
	server w1 %s weight 100
	server w2 backup.example.com:80 weight 100 init-addr none

backend mail
	mode tcp
	server m1 127.0.0.1:25
`, front, shop, parked, blog, listen, blog))
	nginxConf := rig.MustWrite(t, "nginx.conf", rig.NginxMain("nginx", "    include conf.d/*.conf;\n"))
	site := rig.MustWrite(t, "conf.d/site.conf", fmt.Sprintf(`upstream shop {
    keepalive 8; # } not the end
    server %s weight=3;
    server %s down;
}
upstream other { server 127.0.0.1:9; }
server { listen %s; location / { proxy_pass http://shop; } }
`, shop, parked, web))
	was := contents(t, haproxyCfg, nginxConf, site)
	out := rig.Path("out")
	// HAProxy's two files are used where init writes them: no test may write to /etc.
	printed := mustInit(t, "--haproxy", haproxyCfg, "--nginx", nginxConf, "--out", out, "--haproxy-dir", out)
	unchanged(t, "after init", was)
	for _, want := range []string{
		"4 backends, 3 taken", "take   backend shop (line 27): mode http, balance leastconn, 2 servers", "server s2 " + parked + " (disabled, a slot to grow into)",
		"take   listen whole", `left alone: w2: "backup.example.com" is a name`, "leave  backend mail", "mode tcp", "take   upstream shop", "leave  upstream other",
		haproxyCfg + `:27: backend shop has no "option redispatch"`, "EXTRAOPTS=\"-S /run/haproxy-master.sock -f " + out + "/tidegate.cfg\"",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("not printed: %q", want)
		}
	}
	readme, lines := contents(t, out+"/README.txt")[out+"/README.txt"], contents(t, out+"/backend-lines.cfg")[out+"/backend-lines.cfg"]
	if !strings.HasSuffix(printed, readme) || readme == "" {
		t.Errorf("README.txt is not what was printed:\n%s", readme)
	}

	install(t, rig, printed)
	inserted := insertByHand(t, was[haproxyCfg], lines)
	if now := contents(t, haproxyCfg)[haproxyCfg]; now != inserted || strings.Count(now, "# tidegate begin") != 3 {
		t.Errorf("sed and hand differ:\n%s\n%s", now, inserted)
	}
	shell(t, rig, commands(t, printed, "1. HAProxy", "2. nginx", "sed"))
	unchanged(t, "sed a second time", map[string]string{haproxyCfg: inserted})
	cfg := out + "/tidegate.cfg"
	whole := rig.MustWrite(t, "whole.cfg", inserted+"# tidegate begin\n"+contents(t, cfg)[cfg]+"# tidegate end\n")
	if said, err := harness.CheckHAProxy(whole); err != nil {
		t.Errorf("with tidegate.cfg at the end instead of a second -f: %v\n%s", err, said)
	}

	t.Run("runs", func(t *testing.T) { runInstalled(t, rig, haproxyCfg, out, front, listen) })

	undo(t, rig, printed)
	unchanged(t, "taken out again", was)
	if left, _ := filepath.Glob(rig.Path("conf.d/*tidegate*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// runInstalled runs HAProxy in its chroot, as its user, and the controller with the configuration as written, but for the
// two paths outside the rig.
func runInstalled(t *testing.T, rig *harness.Rig, haproxyCfg, out, front, listen string) {
	file := out + "/tidegate.yaml"
	config := strings.NewReplacer("unix:/run/tidegate/api.sock", "unix:"+rig.Path("api.sock"), "/var/lib/tidegate", rig.Path("state")).Replace(contents(t, file)[file])
	// There is no running nginx here: TestMain's other tests have one.
	before, rest, _ := strings.Cut(config, "\n# The only file of nginx's")
	_, rest, _ = strings.Cut(rest, "\n# The machines")
	config = strings.Replace(before+"\n# The machines"+rest, "    nginx_upstream:\n      name: \"shop\"\n      keepalive: 8\n", "", 1)
	yaml := rig.MustWrite(t, "run.yaml", config)
	controller, err := rig.Start("tidegate", nil, binaryPath, "run", "-c", yaml)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := rig.Start("haproxy", nil, "haproxy", "-W", "-db", "-f", haproxyCfg, "-f", out+"/tidegate.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening(front, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	client := api.NewClient("unix:" + rig.Path("api.sock"))
	defer client.Close()
	get := func(url string) {
		resp, err := http.Post(url, "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d %v", url, resp.StatusCode, err)
		}
		resp.Body.Close()
	}
	var last api.Status
	err = harness.WaitFor("samples of all three apps", 30*time.Second, func() bool {
		get("http://" + front + "/")
		get("http://" + front + "/blog")
		get("http://" + listen + "/")
		s, err := client.Status(context.Background())
		if err != nil {
			return false
		}
		last = s
		seen := 0
		for _, a := range s.Apps {
			if a.Rate > 0 && a.P95MS > 0 {
				seen++
			}
		}
		return seen == 3
	})
	if err != nil {
		t.Fatalf("%v\n%+v\n%s\n%s", err, last, controller.Log(), proxy.Log())
	}
	for _, p := range []*harness.Proc{controller, proxy} {
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	}
}

// nginx without HAProxy: read, write, do what is printed, serve, run the controller on what was written, take out again.
func TestInitNginxAlone(t *testing.T) {
	harness.Need(t, "nginx")
	t.Parallel()
	rig := harness.ForTest(t)
	web, one, two := addr(t, rig), origin(t), origin(t)
	nginxConf := rig.MustWrite(t, "nginx.conf", rig.NginxMain("nginx", fmt.Sprintf(`    upstream shop { # one
        keepalive 8; least_conn;
        server %s weight=3;
        server %s;
    }
    server { listen %s; location ~ ^/a\ b$ { return 204; } location / { proxy_pass http://shop; } }
`, one, two, web)))
	was := contents(t, nginxConf)
	out := rig.Path("out")
	printed := mustInit(t, "--nginx", nginxConf, "--out", out)
	unchanged(t, "after init", was)
	for _, want := range []string{nginxConf + ": 1 upstream, 1 taken", "strategy noop, because", nginxConf + ":14: the method stands after keepalive", "In " + nginxConf + " replace lines 13 to 17 ("} {
		if !strings.Contains(printed, want) {
			t.Errorf("not printed: %q in\n%s", want, printed)
		}
	}
	if strings.Contains(printed, "haproxy") {
		t.Errorf("HAProxy is spoken of:\n%s", printed)
	}
	install(t, rig, printed)
	n, err := rig.Start("nginx", nil, "nginx", "-p", rig.Dir, "-c", nginxConf, "-e", rig.Path("start.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening(web, 20*time.Second); err != nil {
		t.Fatalf("%v\n%s", err, n.Log())
	}
	resp, err := http.Get("http://" + web + "/")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%+v %v", resp, err)
	}
	resp.Body.Close()
	file := out + "/tidegate.yaml"
	yaml := rig.MustWrite(t, "run.yaml", strings.NewReplacer("unix:/run/tidegate/api.sock", "unix:"+rig.Path("api.sock"), "/var/lib/tidegate", rig.Path("state")).Replace(contents(t, file)[file]))
	controller, err := rig.Start("tidegate", nil, binaryPath, "run", "-c", yaml)
	if err != nil {
		t.Fatal(err)
	}
	client := api.NewClient("unix:" + rig.Path("api.sock"))
	defer client.Close()
	var last api.Status
	err = harness.WaitFor("the controller to find nginx well", 30*time.Second, func() bool {
		s, err := client.Status(context.Background())
		last = s
		return err == nil && s.Turn >= 2 && len(s.Sources) == 1 && s.Sources[0].OK && len(s.Apps) == 1 && len(s.Apps[0].Servers) == 2
	})
	if err != nil {
		t.Fatalf("%v\n%+v\n%s", err, last, controller.Log())
	}
	for _, p := range []*harness.Proc{controller, n} {
		if err := p.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
	}
	undo(t, rig, printed)
	unchanged(t, "taken out again", was)
}

const shortHead = "global\n    stats socket /run/haproxy/admin.sock mode 660 level admin\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n"

// One listen section, no nginx, no chroot, and nginx with an include line of its own: the smaller ways.
func TestInitInOtherSurroundings(t *testing.T) {
	harness.Need(t, "haproxy", "nginx")
	listen := shortHead + "listen app\n    bind 127.0.0.1:1\n    default-server weight 100\n    server a 127.0.0.1:8001\n    server b 127.0.0.1:8002 disabled\n"
	for name, c := range map[string]struct {
		haproxy, nginx string
		args           []string
		want           string
	}{
		"a listen section without nginx": {listen, "", nil, "take   listen app"},
		"nginx with no folder to include": {listen, "    upstream web {\n        server 127.0.0.1:8001;\n        server 127.0.0.1:8002 down;\n    }\n    server { listen 127.0.0.1:1; location / { proxy_pass http://web; } }\n",
			nil, "with nginx upstream web"},
		"noop":               {listen, "", []string{"--strategy", "noop"}, "take   listen app"},
		"no socket":          {strings.Replace(listen, "    stats socket", "    #", 1), "", nil, "Add this line to a global section: stats socket /run/haproxy/admin.sock mode 660 level admin"},
		"one backend":        {listen + "backend two\n    server c 127.0.0.1:8003\n", "", []string{"--backend", "app"}, "because: not named by --backend"},
		"odd beginning":      {listen + "  backend\t'two'# x\n    server c 127.0.0.1:8003\n", "", nil, "2 backends, 2 taken"},
		"a name in disguise": {listen + "back\\x65nd t\"w.o\" # [*]/$^\n    server c 127.0.0.1:8003\n", "", nil, "2 backends, 2 taken"},
	} {
		t.Run(name, func(t *testing.T) {
			rig := harness.ForTest(t)
			out := rig.Path("deep", "out")
			files := []string{rig.MustWrite(t, "haproxy.cfg", c.haproxy)}
			args := append([]string{"--haproxy", files[0], "--out", out, "--haproxy-dir", out}, c.args...)
			if c.nginx != "" {
				files = append(files, rig.MustWrite(t, "nginx.conf", rig.NginxMain("nginx", c.nginx)))
				args = append(args, "--nginx", files[1])
			}
			was := contents(t, files...)
			printed := mustInit(t, args...)
			unchanged(t, "after init", was)
			if !strings.Contains(printed, c.want) {
				t.Errorf("not printed: %q", c.want)
			}
			install(t, rig, printed)
			if now := contents(t, files...); !strings.Contains(now[files[0]], "# tidegate end") || c.nginx != "" && now[files[1]] == was[files[1]] {
				t.Error("nothing was inserted")
			}
			undo(t, rig, printed)
			unchanged(t, "taken out again", was)
		})
	}
}

func TestInitForNodeAgents(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	out := rig.Path("out")
	cfg := rig.MustWrite(t, "haproxy.cfg", shortHead+`backend shop
    default-server weight 100 disabled
    server s1 10.0.0.1:8001 enabled
    server s2 10.0.0.2:8001
    server s3 127.0.0.1:8001
backend blog
    server b1 10.0.0.1:8002 weight 100
`)
	printed := mustInit(t, "--haproxy", cfg, "--out", out, "--haproxy-dir", out, "--strategy", "busy_ratio", "--variant", "2.6")
	install(t, rig, printed)
	c, err := conf.LoadController(out + "/tidegate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Nodes) != 3 || c.Nodes[1].URL != "http://10.0.0.2:9101" || c.Apps[0].Servers[1].Node != c.Nodes[1].Name || len(c.Nodes[0].Token.Reveal()) < 32 {
		t.Errorf("nodes %+v, apps %+v", c.Nodes, c.Apps)
	}
	for _, host := range []string{"10.0.0.1", "10.0.0.2", "127.0.0.1"} {
		shell(t, rig, []string{"tidegate check " + out + "/agent-" + host + ".yaml"})
	}
	if fi, err := os.Stat(out + "/token"); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the token's mode is %v (%v)", fi.Mode(), err)
	}
	if strings.Contains(printed, c.Nodes[0].Token.Reveal()) {
		t.Error("the token was printed")
	}
}

func TestInitRefusals(t *testing.T) {
	rig := harness.ForTest(t)
	good := rig.MustWrite(t, "good.cfg", shortHead+"backend shop\n    server s1 127.0.0.1:8001 weight 100\n")
	broken := rig.MustWrite(t, "broken.cfg", shortHead+"backend \"shop\n")
	tcp := rig.MustWrite(t, "tcp.cfg", "backend mail\n    server m1 127.0.0.1:25\n")
	none := rig.MustWrite(t, "none.cfg", shortHead)
	nginx := rig.MustWrite(t, "nginx.conf", "events { }\nhttp {\x00}\n")
	bare := rig.MustWrite(t, "bare.conf", "events { }\nhttp { }\n")
	deep := rig.MustWrite(t, "deep.conf", strings.Repeat("a{", 1_000_000))
	// Somebody's own file, in the place of one of ours.
	mine := rig.MustWrite(t, "full/tidegate.yaml", "mine\n")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a file is there":        {[]string{"--haproxy", good, "--out", filepath.Dir(mine)}, mine + " already exists, and init never overwrites"},
		"broken haproxy.cfg":     {[]string{"--haproxy", broken, "--out", rig.Path("out")}, broken + ":8: the quote"},
		"missing haproxy.cfg":    {[]string{"--haproxy", rig.Path("no.cfg"), "--out", rig.Path("out")}, "no such file"},
		"nothing usable":         {[]string{"--haproxy", tcp, "--out", rig.Path("out")}, "no backend of " + tcp + " can be taken: mail (mode tcp"},
		"no backend at all":      {[]string{"--haproxy", none, "--out", rig.Path("out")}, "no backend or listen section"},
		"broken nginx.conf":      {[]string{"--haproxy", good, "--nginx", nginx, "--out", rig.Path("out")}, "NUL byte"},
		"missing nginx.conf":     {[]string{"--haproxy", good, "--nginx", rig.Path("no.conf"), "--out", rig.Path("out")}, "no such file"},
		"no such backend":        {[]string{"--haproxy", good, "--out", rig.Path("out"), "--backend", "blog"}, `--backend "blog"`},
		"no such strategy":       {[]string{"--haproxy", good, "--out", rig.Path("out"), "--strategy", "guess"}, "erlang, latency, busy_ratio, noop"},
		"no folder to write to":  {[]string{"--haproxy", good}, "--out DIR"},
		"nothing to read":        {[]string{"--out", rig.Path("out")}, "--haproxy FILE, --nginx FILE or both"},
		"nginx's folder":         {[]string{"--nginx", rig.Dir, "--out", rig.Path("out")}, rig.Dir + " is a folder; name nginx's main file"},
		"not nginx's file":       {[]string{"--nginx", good, "--out", rig.Path("out")}, good + ":10: this is not what nginx reads"},
		"no upstreams":           {[]string{"--nginx", bare, "--out", rig.Path("out")}, bare + ": no upstream block, so there is nothing to take over"},
		"a million blocks deep":  {[]string{"--nginx", deep, "--out", rig.Path("out")}, deep + ":1: this is not what nginx reads: blocks nest deeper than 64"},
		"no such flag":           {[]string{"--yes"}, "unknown flag"},
		"an argument not wanted": {[]string{"now", "--haproxy", good, "--out", rig.Path("out")}, "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := runInit(t, c.args...)
			if status != 2 || stdout != "" || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("status %d, printed %q and %q; want 2 and one line with %q", status, stdout, stderr, c.want)
			}
			if _, err := os.Stat(rig.Path("out")); err == nil {
				t.Error("the folder was made")
			}
		})
	}
	if left, err := os.ReadDir(filepath.Dir(mine)); err != nil || len(left) != 1 {
		t.Errorf("files beside the one that was there: %v (%v)", left, err)
	}
	unchanged(t, "somebody's own file", map[string]string{mine: "mine\n"})
	// What cannot be written is no mistake on the command line.
	if _, stderr, status := runInit(t, "--haproxy", good, "--out", good+"/x"); status == 0 || !strings.Contains(stderr, "not a directory") {
		t.Errorf("below a file: status %d, %q", status, stderr)
	}
}
