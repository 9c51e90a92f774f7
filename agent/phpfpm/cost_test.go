package phpfpm

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/conf/marks"
	"github.com/tidegate/tidegate/tests/harness"
)

// bare is the least that a mark can be: a file made and removed, whoever may have had the pid before.
const bare = `<?php $f = getenv('TIDEGATE_MARKS') . '/' . getmypid(); touch($f); register_shutdown_function('unlink', $f);`

// BenchmarkMarks tells what a mark costs a request: three pools of one child each, without marks, with ours and with a bare
// file, both on tmpfs, are asked in blocks by turns, and the CPU time of each child is read before and after. Shown are
// the medians over the rounds.
func BenchmarkMarks(b *testing.B) {
	harness.Need(b, harness.PHPFPMProgram)
	rig := harness.ForTest(b)
	dir, err := os.MkdirTemp("/dev/shm", "tidegate-marks-")
	if err != nil {
		b.Skipf("there is no tmpfs: %v", err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		b.Fatal(err)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user = www-data\ngroup = www-data\n"
	}
	pools, listen := "", map[string]string{}
	for _, name := range []string{"plain", "ours", "bare"} {
		listen[name] = "unix:" + rig.Path(name+".sock")
		pools += fmt.Sprintf("[%s]\n%slisten = {{DIR}}/%[1]s.sock\npm = static\npm.max_children = 1\n", name, user)
		if name != "plain" {
			pools += fmt.Sprintf("env[TIDEGATE_MARKS] = %s\nphp_admin_value[auto_prepend_file] = {{DIR}}/%s.php\n", dir, name)
		}
	}
	script := rig.Path("pid.php")
	for name, text := range map[string]string{"pid.php": "<?php echo getmypid();", "ours.php": marks.PHP, "bare.php": bare} {
		if _, err := rig.Write(name, text); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := rig.StartPHPFPM("fpm", pools, listen["plain"], listen["ours"], listen["bare"]); err != nil {
		b.Fatal(err)
	}
	const block = 200
	// cost is the CPU time of one request, in microseconds.
	cost := func(pool string) float64 {
		var before, after time.Duration
		for i := range block + 1 {
			out, err := get(listen[pool], script, "")
			if err != nil {
				b.Fatal(err)
			}
			if i == 0 {
				before = cpu(b, string(out))
			} else if i == block {
				after = cpu(b, string(out))
			}
		}
		return float64(after-before) / float64(time.Microsecond) / block
	}
	for name := range listen {
		cost(name)
	}
	var plain, ours, least []float64
	for b.Loop() {
		p, o, l := cost("plain"), cost("ours"), cost("bare")
		plain, ours, least = append(plain, p), append(ours, o-p), append(least, l-p)
	}
	for what, all := range map[string][]float64{"µs-request": plain, "µs-mark": ours, "µs-bare-file": least} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], what)
	}
}

// cpu is the CPU time that a process has used, from /proc/PID/schedstat.
func cpu(b *testing.B, pid string) time.Duration {
	text, err := os.ReadFile("/proc/" + pid + "/schedstat")
	if err != nil {
		b.Fatal(err)
	}
	ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(ns)
}
