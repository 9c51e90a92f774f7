package phpfpm

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests mostly wait.
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// index works for ms milliseconds, whatever signals come: a master that starts anew interrupts sleeping children. do= makes
// a script end in another way.
const index = `<?php
ini_set('display_errors', '0');
$last = error_get_last();
switch ($_GET['do'] ?? '') {
case 'throw': throw new RuntimeException('thrown');
case 'fatal': no_such_function();
case 'exit': exit("ok\n");
case 'timeout': set_time_limit(1); for (;;) {}
case 'memory': ini_set('memory_limit', '8M'); $s = 'x'; for (;;) { $s .= $s; }
case 'finish': echo "ok\n"; fastcgi_finish_request(); break;
case 'late': register_shutdown_function(function () { usleep(1500000); }); break;
case 'late-exit': register_shutdown_function(function () { exit; }); break;
case 'late-fatal': register_shutdown_function(function () { no_such_function(); }); break;
case 'late-memory': register_shutdown_function(function () { ini_set('memory_limit', '8M'); $s = 'x'; for (;;) { $s .= $s; } }); break;
case 'handler': set_error_handler(function ($no, $text) { throw new ErrorException($text); }); break;
case 'last': exit($last === null && preg_grep('/^(_[A-Z]+|last)$/', array_keys(get_defined_vars()), PREG_GREP_INVERT) === [] ? "ok\n" : print_r([$last, get_defined_vars()], true));
}
$end = hrtime(true) + 1000000 * (int)($_GET['ms'] ?? 0);
while (($left = $end - hrtime(true)) > 0) { usleep(intdiv($left, 1000) + 1); }
echo ($_GET['do'] ?? '') === 'finish' ? '' : "ok\n";
`

// site is one real php-fpm behind an nginx, and an agent with its client.
type site struct {
	agentrig.Site
	fpm *harness.PHPFPM
	// listen is where the pool takes its requests, as an address of the agent's.
	listen string
	opt    Options
	// conf is the configuration, to be changed before startFPM.
	conf string
	wait []string
}

// poolText is a pool whose section includes the ceiling file.
const poolText = `[shop]
%s
listen = %s
listen.mode = 0666
pm.status_path = /fpm-status
pm.status_listen = %s
%s
include = {{DIR}}/ceiling.conf
[other]
%[1]s
listen = {{DIR}}/other.sock
pm = static
pm.max_children = 2
`

// newSite has a pool `shop` with the given pm lines that listens at a TCP or a unix socket, and a pool `other` in the same
// master.
func newSite(t *testing.T, network, global, pm string) *site {
	t.Helper()
	t.Parallel()
	harness.Need(t, harness.PHPFPMProgram, "nginx")
	s := &site{Site: agentrig.Site{T: t, Rig: harness.ForTest(t)}}
	web, err := s.Rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	status, err := s.Rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "http://" + web
	listen := s.Rig.Path("shop.sock")
	if s.listen = "unix:" + listen; network == "tcp" {
		if listen, err = s.Rig.Addr(); err != nil {
			t.Fatal(err)
		}
		s.listen = listen
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user = www-data\ngroup = www-data"
	}
	s.conf = global + "\n" + fmt.Sprintf(poolText, user, listen, status, pm)
	s.wait = []string{status, s.listen}
	if _, err := s.Rig.Write("web/index.php", index); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rig.Write("ceiling.conf", ""); err != nil {
		t.Fatal(err)
	}
	front := fmt.Sprintf(`    server {
        listen %s;
        location / {
            fastcgi_pass %s;
            fastcgi_param SCRIPT_FILENAME %s/web/index.php;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
        }
    }`, web, s.listen, s.Rig.Dir)
	s.startFPM()
	if _, err := s.Rig.StartNginx("nginx", s.Rig.NginxMain("nginx", front)); err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening(web, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	s.opt = Options{PIDFile: s.fpm.PIDFile, Pool: "shop", Status: status, StatusPath: "/fpm-status",
		CeilingFile: s.Rig.Path("ceiling.conf"), MinDistance: 100 * time.Millisecond}
	return s
}

func (s *site) startFPM() {
	s.T.Helper()
	var err error
	if s.fpm, err = s.Rig.StartPHPFPM("fpm", s.conf, s.wait...); err != nil {
		s.T.Fatal(err)
	}
}

// start runs the agent.
func (s *site) start() {
	s.T.Helper()
	p := New(s.opt)
	s.App = agent.App{Name: "shop", Source: p, Actuator: p, Min: 1, Max: 20}
	s.StartAgent()
}

// ceiling is the content of the ceiling file.
func (s *site) ceiling() string {
	s.T.Helper()
	b, err := os.ReadFile(s.opt.CeilingFile)
	if err != nil {
		s.T.Fatal(err)
	}
	return string(b)
}

// problem waits until the report's sentence contains text.
func (s *site) problem(text string) agent.AppReport {
	s.T.Helper()
	return s.Wait(fmt.Sprintf("a sentence with %q", text), func(r agent.AppReport) bool { return strings.Contains(r.Problem, text) })
}
