package haproxy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInfoIsRefused(t *testing.T) {
	good := "Pid: 7\nStart_time_sec: 1700000000\nUptime_sec: 5\nStopping: 0\nVersion: 2.6.12\nnode: a:b\n"
	if _, err := parseInfo([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no pid": strings.Replace(good, "Pid", "Pud", 1), "a word for a pid": strings.Replace(good, "7", "x", 1),
		"a negative pid": strings.Replace(good, "7", "-7", 1), "an error": "[3]: Permission denied\n", "no Stopping": strings.Replace(good, "Stopping", "x", 1),
		"no start": strings.Replace(good, "Start_time_sec", "x", 1), "prose": "hello\n",
	} {
		if p, err := parseInfo([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, p)
		}
	}
	if p, err := parseInfo([]byte(strings.Replace(good, "Stopping: 0", "Stopping: 1", 1))); err != nil || !p.Stopping || p.ID != "7:1700000000" || p.Uptime != 5*time.Second {
		t.Errorf("a stopping process reads as %+v, %v", p, err)
	}
}

const stateHeader = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change " +
	"srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord " +
	"srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"

func TestServerLinesAreRefused(t *testing.T) {
	line := "2 web 1 s1 127.0.0.1 2 0 100 100 1 1 3 2 6 0 0 0 - 9 - 0 0 - - 0\n"
	if got, err := parseServers([]byte(stateHeader+line), "web"); err != nil || len(got.servers) != 1 || !got.servers[0].CheckPassing || got.id != 2 {
		t.Fatalf("the good line reads as %+v, %v", got, err)
	}
	for name, body := range map[string]string{
		"another version":    "2" + stateHeader[1:] + line,
		"no header":          "1\n" + line,
		"another backend":    stateHeader + strings.Replace(line, "web", "wob", 1),
		"a field too few":    stateHeader + strings.Replace(line, " - - 0", " - -", 1),
		"a weight of 257":    stateHeader + strings.Replace(line, "100", "257", 1),
		"an op state of 4":   stateHeader + strings.Replace(line, "127.0.0.1 2", "127.0.0.1 4", 1),
		"a hex admin state":  stateHeader + strings.Replace(line, "127.0.0.1 2 0", "127.0.0.1 2 0x8", 1),
		"a bad name":         stateHeader + strings.Replace(line, "s1", "s;1", 1),
		"twice the same":     stateHeader + line + line,
		"permission denied":  "[3]: Permission denied\n",
		"a missing column":   strings.Replace(stateHeader, "srv_uweight", "weight", 1) + line,
		"a half of the line": stateHeader + line[:20] + "\n",
	} {
		if got, err := parseServers([]byte(body), "web"); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

func TestStatisticsAreReadByHeaderName(t *testing.T) {
	f := func(name, body string, want load, ok bool) {
		t.Helper()
		got, err := parseStat([]byte(body), "web")
		if (err == nil) != ok {
			t.Errorf("%s: error %v", name, err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(load{}, serverLoad{})); ok && d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	header := "# stot,status,pxname,slim,last_agt,svname,scur,qcur,type,\n"
	none := map[string]serverLoad{}
	f("other order, quotes", header+"7,\"DOWN (agent), \"\"x\"\"\",web,10,\"a,b\",s1,3,2,2,\n0,UP,web,200,,BACKEND,9,6,1,\n",
		load{seen: true, current: 9, queued: 6, servers: map[string]serverLoad{"s1": {current: 3, queued: 2, maxConn: 10, sessions: 7, answers: -1, status: `DOWN (agent), "x"`}}}, true)
	f("another proxy with that number", header+"7,UP,api,10,,BACKEND,3,2,1,\n", load{servers: none}, true)
	f("a server named BACKEND", header+"7,UP,web,,,BACKEND,3,2,2,\n", load{servers: map[string]serverLoad{"BACKEND": {current: 3, queued: 2, sessions: 7, answers: -1, status: "UP"}}}, true)
	counted := "# stot,status,pxname,slim,last_agt,svname,scur,qcur,type,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,\n"
	f("answers", counted+"7,UP,web,,,s1,3,2,2,1,20,300,4000,50000,\n7,UP,web,,,s2,3,2,2,,,,,,\n", load{servers: map[string]serverLoad{
		"s1": {current: 3, queued: 2, sessions: 7, answers: 4320, status: "UP"}, "s2": {current: 3, queued: 2, sessions: 7, answers: -1, status: "UP"},
	}}, true)
	f("a word for a count of answers", counted+"7,UP,web,,,s1,3,2,2,1,x,300,4000,50000,\n", load{}, false)
	f("no such proxy", "[3]: No such proxy.\n", load{servers: none}, true)
	f("no header", "7,UP,web\n", load{}, false)
	f("a short line", header+"7,UP,web\n", load{}, false)
	f("an open quote", header+"7,\"UP,web,10,,s1,3,2,2,\n", load{}, false)
	f("a word for a count", header+"7,UP,web,10,,s1,x,2,2,\n", load{}, false)
	f("a missing column", strings.Replace(header, "qcur", "q", 1), load{}, false)
}

func TestAdminFlags(t *testing.T) {
	for flags, want := range map[Admin]string{0: Ready, 4: Ready, 1: Maint, 5: Maint, 2: Maint + " (inherited from the server it tracks)", 32: Maint + " (its name does not resolve)",
		8: Drain, 12: Drain, 16: Drain + " (inherited from the server it tracks)", 9: Maint, 64: Ready} {
		if got := flags.String(); got != want {
			t.Errorf("flags %d read as %q, want %q", flags, got, want)
		}
		if flags.Ready() == (flags.Maint() || flags.Drain()) {
			t.Errorf("flags %d: ready %v, maint %v, drain %v", flags, flags.Ready(), flags.Maint(), flags.Drain())
		}
		if flags.FromConfig() != (flags == 4 || flags == 5 || flags == 12) {
			t.Errorf("flags %d: FromConfig %v", flags, flags.FromConfig())
		}
	}
}

func FuzzInfo(f *testing.F) {
	f.Add([]byte("Pid: 7\nStart_time_sec: 1700000000\nUptime_sec: 5\nStopping: 0\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := parseInfo(body); err == nil && (p.PID < 0 || p.ID == "" || p.Uptime < 0) {
			t.Fatalf("accepted %+v", p)
		}
	})
}

func FuzzServers(f *testing.F) {
	f.Add([]byte(stateHeader+"2 web 1 s1 127.0.0.1 2 0 100 100 1 1 3 2 6 0 0 0 - 9 - 0 0 - - 0\n"), "web")
	f.Add([]byte("[3]: Can't find backend.\n"), "web")
	f.Fuzz(func(t *testing.T, body []byte, backend string) {
		got, err := parseServers(body, backend)
		if err != nil {
			return
		}
		for _, s := range got.servers {
			if checkName("server", s.Name) != nil || s.Weight < 0 || s.Weight > MaxWeight || s.InitialWeight > MaxWeight || s.Op > OpStopping {
				t.Fatalf("accepted %+v", s)
			}
		}
	})
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("# pxname,svname,type,qcur,scur,slim,stot,status,algo,\nweb,s1,2,0,0,,0,\"UP, \"\"so\"\"\",,\nweb,BACKEND,1,0,0,1,0,UP,roundrobin,\n"), "web")
	f.Fuzz(func(t *testing.T, body []byte, backend string) {
		got, err := parseStat(body, backend)
		if err != nil {
			return
		}
		for name, s := range got.servers {
			if s.current < 0 || s.queued < 0 || s.maxConn < 0 {
				t.Fatalf("accepted %s %+v", name, s)
			}
		}
	})
}
