package sizing

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestCheckTakesTheDefaultsAndNamesWhatIsWrong(t *testing.T) {
	p := Default()
	if err := p.Check(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for want, spoil := range map[string]func(p *Policy){
		"erlang.max_late is 7":                  func(p *Policy) { p.Erlang.MaxLate = 7 },
		"erlang.max_wait is NaN":                func(p *Policy) { p.Erlang.MaxWait = math.NaN() },
		"down.share is 0":                       func(p *Policy) { p.Down.Share = 0 },
		"max_workers is 3":                      func(p *Policy) { p.MinWorkers, p.MaxWorkers = 4, 3 },
		"slo is -1s":                            func(p *Policy) { p.SLO = -time.Second },
		"collapse_guard.hold is 1s; allowed is": func(p *Policy) { p.Guard.Hold = time.Second },
	} {
		p := Default()
		spoil(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
