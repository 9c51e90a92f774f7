package decision

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// Answer is what one line is answered with.
type Answer struct {
	Now time.Time `json:"now"`
	// Apps are the plans of the apps that the line named, in the order of the policy.
	Apps []core.AppPlan `json:"apps"`
}

// Options say what an answer leaves out.
type Options struct {
	// Trace keeps the inputs and steps of each decision.
	Trace bool
	// Apps are the only apps to answer for; none means all.
	Apps []string
}

// Encode writes an answer as one line. What happened to the size stands among the plan's reasons, so the sizing's own list of it
// is left out.
func Encode(o core.Observation, plan core.Plan, opt Options) ([]byte, error) {
	line, err := json.Marshal(Answer{o.Now, Answered(o, plan, opt)})
	if err != nil {
		return nil, fmt.Errorf("write the answer: %w", err)
	}
	return append(line, '\n'), nil
}

// Answered are the plans that an answer has.
func Answered(o core.Observation, plan core.Plan, opt Options) []core.AppPlan {
	named := make(map[string]bool, len(o.Apps))
	for _, a := range o.Apps {
		named[a.Name] = true
	}
	out := make([]core.AppPlan, 0, len(plan.Apps))
	for _, p := range plan.Apps {
		if !named[p.Name] || len(opt.Apps) > 0 && !slices.Contains(opt.Apps, p.Name) {
			continue
		}
		if p.Sizing != nil {
			r := *p.Sizing
			r.Events = nil
			if !opt.Trace {
				r.Trace = sizing.Trace{}
			}
			p.Sizing = &r
		}
		out = append(out, p)
	}
	return out
}
