package demo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tidegate/tidegate/api"
)

// screen draws a table over the one before on a terminal; elsewhere it prints one every ten seconds and when the phase changes.
type screen struct {
	out   io.Writer
	live  bool
	lines int
	count int
	phase string
}

// plainEvery is how many draws pass between two tables without a terminal.
const plainEvery = 10

func (s *screen) draw(phase, table string) {
	s.count++
	if !s.live {
		if s.count%plainEvery == 1 || phase != s.phase {
			fmt.Fprintln(s.out, table)
		}
		s.phase = phase
		return
	}
	if s.lines > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
	}
	fmt.Fprint(s.out, table)
	s.lines = strings.Count(table, "\n")
}

func (s *screen) note(text string) {
	fmt.Fprintln(s.out, text)
	s.lines = 0
}

// bar draws one character for each possible worker: # busy, - ready, . not running.
func bar(busy float64, ready, most int) string {
	var b strings.Builder
	for i := range most {
		switch {
		case float64(i) < busy-0.25:
			b.WriteByte('#')
		case i < ready:
			b.WriteByte('-')
		default:
			b.WriteByte('.')
		}
	}
	return b.String()
}

// table is one picture of the fleet.
func (s *show) table(st api.Status) string {
	a := st.Apps[0]
	since := time.Since(s.began)
	var b bytes.Buffer
	sent, failed := s.tally.Counts()
	p95, _ := s.tally.Quantile(0.95, since-6*time.Second, since)
	fmt.Fprintf(&b, "%s of %s  %s\n", clock(since), clock(s.set.total()), strings.ToUpper(s.set.phase(since)))
	fmt.Fprintf(&b, "client   %.0f requests/s due, %d ended, %d failed, p95 of the last 6 s %d ms (both ways)\n", 2*s.set.rate(min(since, s.set.total()-1)), sent, failed, p95.Milliseconds())
	fmt.Fprintf(&b, "HAProxy  %.0f requests/s, p50 %.0f ms, p95 %.0f ms, %d in flight, %d queued (from SPOE and show stat)\n", a.Rate, a.P50MS, a.P95MS, a.InFlight, a.Queued)
	fmt.Fprintf(&b, "workers  %.1f busy of %d ready, %d wanted\n", a.Busy, a.Ready, a.Wanted)
	tw := tabwriter.NewWriter(&b, 2, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SERVER\tPHASE\tHAPROXY\tWEIGHT\tNGINX\tWORKERS\tBUSY/TOTAL")
	for _, v := range a.Servers {
		web := "down"
		if v.Web > 0 {
			web = fmt.Sprint(v.Web)
		} else if v.Web < 0 {
			web = "?"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%.1f/%d\n", v.Name, v.Phase, v.Admin, v.Weight, web, bar(v.Busy, v.Ready, 4), v.Busy, v.Total)
	}
	_ = tw.Flush() // a bytes.Buffer takes everything
	last := "none yet"
	if a.Last != nil {
		last = fmt.Sprintf("%s (%s ago)", a.Last.Sentence, max(0, st.Now.Sub(a.Last.Time)).Round(time.Second))
	}
	fmt.Fprintf(&b, "last decision: %s\n", last)
	for i, e := range st.Events {
		if i == 3 {
			break
		}
		fmt.Fprintf(&b, "  %s %s\n", e.Time.Local().Format(time.TimeOnly), cut(e.Sentence, 130))
	}
	return b.String()
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// cut shortens a line so that it does not wrap, which would spoil the redrawing.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
