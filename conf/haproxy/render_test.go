package haproxyconf_test

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
)

var update = flag.Bool("update", false, "write the example files anew")

func example(variant string) haproxyconf.Params {
	return haproxyconf.Params{
		Variant:  variant,
		Backends: []haproxyconf.Backend{{Name: "app", Servers: []string{"s1", "s2"}}},
		SPOAAddr: "unix@/run/tidegate/spoa.sock",
		SPOEFile: "/etc/haproxy/tidegate-spoe.conf",
	}
}

// The plain files in the tree are what Render writes for the example. `go test -run Example -update` renews them.
func TestExampleFilesAreWhatRenderWrites(t *testing.T) {
	for _, variant := range []string{haproxyconf.Variant26, haproxyconf.Variant30} {
		files, err := haproxyconf.Render(example(variant))
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"tidegate.cfg": files.Include, "tidegate-spoe.conf": files.SPOE, "backend-lines.cfg": files.BackendLines,
		} {
			path := filepath.Join(variant, name)
			if *update {
				if err := os.MkdirAll(variant, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			shipped, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(shipped), text); d != "" {
				t.Errorf("%s differs from what Render writes (-file +render):\n%s", path, d)
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	backend := func(name string, servers ...string) func(*haproxyconf.Params) {
		return func(p *haproxyconf.Params) { p.Backends = []haproxyconf.Backend{{Name: name, Servers: servers}} }
	}
	tests := map[string]struct {
		change func(*haproxyconf.Params)
		want   string
	}{
		"unknown variant":            {func(p *haproxyconf.Params) { p.Variant = "2.4" }, `variant "2.4"`},
		"no backends":                {func(p *haproxyconf.Params) { p.Backends = nil }, "0 backends"},
		"empty backend name":         {backend(""), `backend ""`},
		"backend with a space":       {backend("a b"), `backend "a b"`},
		"backend with a line break":  {backend("a\nglobal"), "backend"},
		"backend with a quote":       {backend(`a"`), "backend"},
		"backend with a slash":       {backend("a/b"), "backend"},
		"backend with a parenthesis": {backend("a)"), "backend"},
		"backend with a comma":       {backend("a,b"), "backend"},
		"backend with an umlaut":     {backend("ä"), "backend"},
		"backend name too long":      {backend(strings.Repeat("a", 65)), "backend"},
		"server with a semicolon":    {backend("app", "s1;"), `server "s1;" of backend app`},
		"server twice":               {backend("app", "s1", "s1"), "server s1 of backend app is given twice"},
		"backend twice": {func(p *haproxyconf.Params) {
			p.Backends = append(p.Backends, haproxyconf.Backend{Name: "app"})
		}, "backend app is given twice"},
		"too many servers":           {backend("app", make([]string, 1001)...), "1001 servers"},
		"agent on another address":   {func(p *haproxyconf.Params) { p.SPOAAddr = "10.0.0.1:9000" }, "agent address"},
		"agent with a name":          {func(p *haproxyconf.Params) { p.SPOAAddr = "localhost:9000" }, "agent address"},
		"agent with a line break":    {func(p *haproxyconf.Params) { p.SPOAAddr = "unix@/a\nb" }, "agent address"},
		"agent without a port":       {func(p *haproxyconf.Params) { p.SPOAAddr = "127.0.0.1:0" }, "agent address"},
		"relative SPOE file":         {func(p *haproxyconf.Params) { p.SPOEFile = "spoe.conf" }, "SPOE file"},
		"SPOE file with dots":        {func(p *haproxyconf.Params) { p.SPOEFile = "/etc/../x" }, "SPOE file"},
		"SPOE file with a space":     {func(p *haproxyconf.Params) { p.SPOEFile = "/etc/a b" }, "SPOE file"},
		"heartbeat on a unix path":   {func(p *haproxyconf.Params) { p.HeartbeatAddr = "unix@/x" }, "heartbeat address"},
		"prefix with a dash":         {func(p *haproxyconf.Params) { p.Prefix = "tide-gate" }, "prefix"},
		"sample of nothing":          {func(p *haproxyconf.Params) { p.Sample = -1 }, "sample -1"},
		"sample of more than all":    {func(p *haproxyconf.Params) { p.Sample = 101 }, "sample 101"},
		"arrivals with a sample":     {func(p *haproxyconf.Params) { p.Arrivals, p.Sample = true, 10 }, "arrivals with a sample of 10 %"},
		"stick counter out of range": {func(p *haproxyconf.Params) { p.Track = "sc3" }, "stick counter"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := example(haproxyconf.Variant26)
			tt.change(&p)
			files, err := haproxyconf.Render(p)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want one with %q", err, tt.want)
			}
			if files != (haproxyconf.Files{}) {
				t.Error("a refusal must come without files")
			}
		})
	}
}

// No engine's messages may outgrow a frame, no message may have more arguments than a byte counts, and no server may be
// left out, however many there are.
func TestManyBackendsAreSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := example(haproxyconf.Variant30)
		p.Backends = nil
		long := strings.Repeat("x", rapid.IntRange(0, 55).Draw(t, "length"))
		var servers int
		for i := range rapid.IntRange(1, 60).Draw(t, "backends") {
			b := haproxyconf.Backend{Name: "b" + itoa(i) + long}
			for j := range rapid.IntRange(0, 130).Draw(t, "servers") {
				b.Servers = append(b.Servers, "s"+itoa(j)+long)
				servers++
			}
			p.Backends = append(p.Backends, b)
		}
		files, err := haproxyconf.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(files.SPOE, "=srv_conn("); got != servers {
			t.Fatalf("%d servers in the file, want %d", got, servers)
		}
		if got := strings.Count(files.SPOE, " conn=be_conn("); got != len(p.Backends) {
			t.Fatalf("gauges of %d backends, want %d", got, len(p.Backends))
		}
		for _, m := range strings.Split(files.SPOE, "spoe-message ")[1:] {
			if args := strings.Count(m, "="); args > 200 {
				t.Fatalf("a message with %d arguments:\n%s", args, m)
			}
		}
		engines := regexp.MustCompile(`(?m)^\[(.*)\]$`).FindAllStringSubmatch(files.SPOE, -1)
		for _, e := range engines[1:] {
			if !strings.Contains(files.Include, "filter spoe engine "+e[1]+" config") {
				t.Fatalf("engine %s has no filter line", e[1])
			}
		}
	})
}

// Arrival messages are a matter of the SPOE file alone: they can be turned on and off without touching a backend.
func TestArrivalsChangeTheSPOEFileAlone(t *testing.T) {
	for _, variant := range []string{haproxyconf.Variant26, haproxyconf.Variant30} {
		p := example(variant)
		without, err := haproxyconf.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		p.Arrivals = true
		with, err := haproxyconf.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		if with.Include != without.Include || with.BackendLines != without.BackendLines {
			t.Errorf("%s: more than the SPOE file has changed", variant)
		}
		if strings.Contains(without.SPOE, "tidegate-arrive") || !strings.Contains(with.SPOE, "spoe-message tidegate-arrive") || strings.Count(with.SPOE, "uuid()") != 1 {
			t.Errorf("%s: the SPOE file with arrivals is\n%s", variant, with.SPOE)
		}
	}
}

// An id costs HAProxy much and the agent has no use for it: it is there only where it is asked for, or an arrival needs it.
func TestIDsAreAskedFor(t *testing.T) {
	for _, variant := range []string{haproxyconf.Variant26, haproxyconf.Variant30} {
		p := example(variant)
		without, err := haproxyconf.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		p.IDs = true
		with, err := haproxyconf.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		if with.Include != without.Include || with.BackendLines != without.BackendLines {
			t.Errorf("%s: more than the SPOE file has changed", variant)
		}
		const set, told = "id=uuid(),set-var(txn.tidegate_id)", "%[var(txn.tidegate_id)]"
		if strings.Contains(without.SPOE, "tidegate_id") || strings.Count(with.SPOE, set) != 1 || !strings.Contains(with.SPOE, told) {
			t.Errorf("%s: with ids the SPOE file is\n%s", variant, with.SPOE)
		}
		p.Arrivals = true
		if both, err := haproxyconf.Render(p); err != nil || strings.Count(both.SPOE, set) != 1 || !strings.Contains(both.SPOE, "args id=var(txn.tidegate_id)") {
			t.Errorf("%s: with ids and arrivals the SPOE file is (%v)\n%s", variant, err, both.SPOE)
		}
	}
}

// What is sent of a share of the requests is prepared for that share alone: the choice is made when a request comes, and
// stamps, log variables and the exchange all ask for it.
func TestWhatIsNotSampledIsNotPrepared(t *testing.T) {
	p := example(haproxyconf.Variant26)
	p.Sample = 7
	old, err := haproxyconf.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Variant = haproxyconf.Variant30
	native, err := haproxyconf.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	const chosen = "{ var(txn.tidegate_t0) -m found }"
	for what, line := range map[string]string{
		"the choice":            "{ date(0,us),mod(593) lt 42 } { date(0,us),set-var(txn.tidegate_t0) -m found } || { always_true }",
		"2.6: the log's times":  `"%Tw/%Tc/%rc/%sc/%[date(0,us)]" if ` + chosen,
		"3.0: the second stamp": "event on-server-session if " + chosen + " { date(0,us),",
		"the exchange":          "{ sc_inc_gpc(1,2) gt 0 } " + chosen + " { srv_is_up(",
	} {
		for variant, text := range map[string]string{"2.6": old.BackendLines + old.SPOE, "3.0": native.BackendLines + native.SPOE} {
			if v, _, only := strings.Cut(what, ":"); only && v != variant {
				continue
			}
			if strings.Count(text, line) != 1 {
				t.Errorf("%s, files for %s: %q is not there once:\n%s", what, variant, line, text)
			}
		}
	}
}

// The choice goes by the microsecond a request comes in. A client that sends at an even pace must have its share chosen all
// the same, without long gaps; a modulus of 100 would choose all or none of one request each millisecond.
func TestTheChoiceIsFairToAnEvenPace(t *testing.T) {
	rule := regexp.MustCompile(`date\(0,us\),mod\((\d+)\) lt (\d+)`)
	for _, sample := range []int{1, 2, 5, 10, 20, 50, 99} {
		p := example(haproxyconf.Variant26)
		p.Sample = sample
		files, err := haproxyconf.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		m := rule.FindStringSubmatch(files.BackendLines)
		if m == nil {
			t.Fatalf("no choice by the clock in\n%s", files.BackendLines)
		}
		of, _ := strconv.Atoi(m[1])
		below, _ := strconv.Atoi(m[2])
		if share := 100 * float64(below) / float64(of); math.Abs(share-float64(sample)) > float64(sample)/50 {
			t.Errorf("sample %d: %d of %d are %.2f %%, want it within a fiftieth", sample, below, of, share)
		}
		// Microseconds: 10,000 a second to one in 5 seconds, and 60, 30 and 15 a second.
		for _, period := range []int{100, 125, 200, 250, 500, 1000, 2000, 2500, 5000, 8333, 10_000, 16_667, 20_000, 33_333, 50_000, 66_667, 100_000, 200_000, 250_000, 500_000, 1_000_000, 5_000_000} {
			const requests = 100_000
			chosen, gap, last := 0, 0, 0
			for i := range requests {
				if at := 1_790_000_000_000_000 + i*period; at%of < below {
					chosen, last = chosen+1, i
				}
				gap = max(gap, i-last)
			}
			if want := requests * sample / 100; chosen < want*97/100 || chosen > want*103/100 {
				t.Errorf("sample %d: of a request each %d us %d of %d are chosen, want about %d", sample, period, chosen, requests, want)
			}
			if gap*sample > 10*100 {
				t.Errorf("sample %d: of a request each %d us %d in a row are left out", sample, period, gap)
			}
		}
	}
}

func TestPrefixIsEverywhere(t *testing.T) {
	p := example(haproxyconf.Variant26)
	p.Prefix, p.Track, p.Arrivals = "gate2", "sc0", true
	files, err := haproxyconf.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	all := files.Include + files.SPOE + files.BackendLines
	// What is left are the names of the messages, which the agent knows, and comments.
	for _, line := range strings.Split(all, "\n") {
		if rest := regexp.MustCompile(`tidegate-(arrive|connected|done|heartbeat-\d+)|/etc/haproxy/tidegate-spoe.conf|/run/tidegate/`).ReplaceAllString(line, ""); strings.Contains(rest, "tidegate") && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			t.Errorf("the line %q does not know the prefix", line)
		}
	}
	if !strings.Contains(files.BackendLines, "track-sc0 be_name table gate2-ctr") || !strings.Contains(files.BackendLines, "sc_inc_gpc(0,0)") {
		t.Errorf("stick counter 0 is not used:\n%s", files.BackendLines)
	}
}

func itoa(i int) string {
	return string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + strings.Repeat("z", i/676)
}
