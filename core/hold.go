package core

import (
	"fmt"

	"github.com/tidegate/tidegate/core/sizing"
)

// operatorHold finds out whether an operator's hold is in force, whatever sizes the app, and reports when that changes. Under a
// hold nothing is ordered, but what puts a server back into service that a restart of HAProxy has taken out.
func (t *turn) operatorHold() {
	var by *sizing.Order
	for i := range t.o.Orders {
		o := &t.o.Orders[i]
		if o.Kind == sizing.OrderHold && !t.now.Before(o.From) && (o.Until.IsZero() || t.now.Before(o.Until)) {
			by = o
			break
		}
	}
	t.held = by != nil
	switch {
	case t.held && !t.m.Held:
		who := by.ID
		if by.Owner != "" {
			who += " of " + by.Owner
		}
		if by.Note != "" {
			who += fmt.Sprintf(" (%s)", by.Note)
		}
		t.reason(CodeHoldOrder, "", nil, "the hold %s is in force: nothing changes until it ends", who)
	case !t.held && t.m.Held:
		t.reason(CodeHoldOver, "", nil, "the hold is over; scaling goes on")
		// What has been quiet under a hold says nothing.
		t.m.Activity = t.now
	}
	t.m.Held = t.held
}
