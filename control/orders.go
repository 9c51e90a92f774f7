package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// The codes of events about orders.
const (
	codeOrdered  = "order"
	codeReleased = "order_released"
	codeExpired  = "order_expired"
)

// orderBook keeps the orders in one JSON file, which is flushed before an order is answered, so that it outlives everything.
type orderBook struct {
	path string

	mu   sync.Mutex
	next int
	list []api.Order
}

// storedOrders is the file's format.
type storedOrders struct {
	Version int         `json:"version"`
	Next    int         `json:"next"`
	Orders  []api.Order `json:"orders"`
}

// openOrders reads the orders of the last run. A file that cannot be understood is put aside and reported.
func openOrders(dir string) (*orderBook, error) {
	b := &orderBook{path: filepath.Join(dir, "orders.json"), next: 1}
	text, err := os.ReadFile(b.path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read the orders: %w", err)
	}
	var st storedOrders
	if err := json.Unmarshal(text, &st); err != nil || st.Version != storeVersion {
		if err == nil {
			err = fmt.Errorf("version %d, not %d", st.Version, storeVersion)
		}
		bad := b.path + ".bad"
		return b, errors.Join(fmt.Errorf("understand the orders %s (kept as %s): %w", b.path, bad, err), os.Rename(b.path, bad))
	}
	b.next, b.list = max(1, st.Next), st.Orders
	for i := range b.list {
		b.list[i].State, b.list[i].Why, b.list[i].Asks = "waiting", "", 0
	}
	return b, nil
}

// replace puts another list in force once it is stored; otherwise nothing changes. The lock is held.
func (b *orderBook) replace(list []api.Order, next int) error {
	text, err := json.MarshalIndent(storedOrders{storeVersion, next, list}, "", "  ")
	if err == nil {
		err = replaceFile(b.path, append(text, '\n'), true)
	}
	if err != nil {
		return api.Refused{Kind: api.ErrNotSaved, Sentence: fmt.Sprintf("the orders cannot be saved, so nothing has changed: %v", err)}
	}
	b.list, b.next = list, next
	return nil
}

// all lists the orders, oldest first.
func (b *orderBook) all() []api.Order {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// of are the orders for one app, as the decision core takes them.
func (b *orderBook) of(app string) []sizing.Order {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []sizing.Order
	for _, o := range b.list {
		if o.App == app || o.App == api.AllApps {
			out = append(out, sizing.Order{
				ID: o.ID, Kind: sizing.OrderKind(o.Kind), Owner: o.Owner, Note: o.Note, From: o.From, Until: o.Until, Workers: o.Workers, Rate: o.Rate,
			})
		}
	}
	return out
}

// add numbers an order and puts it in force. A hold or pin takes the place of the same owner's on the same app.
func (b *orderBook) add(o api.Order) (api.Order, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]api.Order, 0, len(b.list)+1)
	for _, old := range b.list {
		if o.Kind == string(sizing.OrderReserve) || old.Kind != o.Kind || old.App != o.App || old.Owner != o.Owner {
			list = append(list, old)
		}
	}
	if len(list) >= maxOrders {
		return o, fmt.Errorf("there are %d orders already, and no more are taken; release some", len(list))
	}
	o.ID = o.Kind + "-" + strconv.Itoa(b.next)
	return o, b.replace(append(list, o), b.next+1)
}

// remove ends the orders that match.
func (b *orderBook) remove(match func(o *api.Order) bool) (gone []api.Order, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := make([]api.Order, 0, len(b.list))
	for i := range b.list {
		if match(&b.list[i]) {
			gone = append(gone, b.list[i])
		} else {
			keep = append(keep, b.list[i])
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, b.replace(keep, b.next)
}

// states notes what became of the orders in a turn and returns those that are over. The states themselves are not stored: the next
// turn tells them again.
func (b *orderBook) states(plan core.Plan, now time.Time) (over []api.Order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.list {
		o := &b.list[i]
		o.State, o.Why, o.Asks = outcome(o, plan, now)
		if !o.Until.IsZero() && !now.Before(o.Until) {
			o.State = "expired"
			over = append(over, *o)
		}
	}
	return over
}

// outcome sums up what became of an order in all the apps it is for: active when it is so in any.
func outcome(o *api.Order, plan core.Plan, now time.Time) (state, why string, asks int) {
	state, why = "refused", "no app is called "+o.App
	if o.App == api.AllApps {
		state, why = "active", ""
	}
	for i := range plan.Apps {
		p := &plan.Apps[i]
		if o.App != p.Name && o.App != api.AllApps {
			continue
		}
		s := outcomeIn(o, p, now)
		if o.App == p.Name || s.State != "active" {
			state, why, asks = s.State, s.Why, s.Workers
		}
	}
	return state, why, asks
}

// outcomeIn is what became of an order in one app. An app that is not sized in workers knows holds only.
func outcomeIn(o *api.Order, p *core.AppPlan, now time.Time) sizing.OrderState {
	if p.Sizing != nil {
		if s, ok := p.Sizing.Orders[o.ID]; ok {
			return s
		}
		// It was given after the turn had looked.
		return sizing.OrderState{State: "waiting"}
	}
	switch {
	case now.Before(o.From):
		return sizing.OrderState{State: "waiting"}
	case o.Kind != string(sizing.OrderHold):
		return sizing.OrderState{State: "refused", Why: p.Name + " is not sized in workers"}
	}
	return sizing.OrderState{State: "active"}
}

// Orders implements api.Backend.
func (l *Loop) Orders() []api.Order { return l.orders.all() }

// Order implements api.Backend: it checks an order, stores it and puts it in force with the next turn.
func (l *Loop) Order(req api.OrderRequest) (api.Order, error) {
	o, err := checkOrder(req, l.current.Load(), time.Now())
	if err != nil {
		return o, err
	}
	o, err = l.orders.add(o)
	if err != nil {
		return o, err
	}
	l.tellOrder(codeOrdered, o, time.Now(), "given: "+describe(o))
	return o, nil
}

// Release implements api.Backend: it ends an order by its id, or all orders that are for one app alone.
func (l *Loop) Release(what string) ([]api.Order, error) {
	gone, err := l.orders.remove(func(o *api.Order) bool { return o.ID == what })
	if err == nil && len(gone) == 0 {
		gone, err = l.orders.remove(func(o *api.Order) bool { return o.App == what })
	}
	if err != nil {
		return nil, err
	}
	if len(gone) == 0 {
		return nil, l.nothingToRelease(what)
	}
	for _, o := range gone {
		l.tellOrder(codeReleased, o, time.Now(), "released: "+describe(o))
	}
	return gone, nil
}

func (l *Loop) nothingToRelease(what string) error {
	if l.current.Load().app(what) == nil {
		return api.Refused{Kind: api.ErrNotFound, Sentence: fmt.Sprintf("%s is neither the id of an order nor the name of an app with one", quoted(what))}
	}
	var general []string
	for _, o := range l.orders.all() {
		if o.App == api.AllApps {
			general = append(general, o.ID)
		}
	}
	if len(general) > 0 {
		return api.Refused{Kind: api.ErrNotFound, Sentence: fmt.Sprintf("%s has no order of its own; release %s, which is for all apps, by its id", what, strings.Join(general, ", "))}
	}
	return api.Refused{Kind: api.ErrNotFound, Sentence: what + " has no order"}
}

// endOrders removes the orders that are over, after the turn that has told so.
func (l *Loop) endOrders(plan core.Plan, now time.Time) {
	over := l.orders.states(plan, now)
	if len(over) == 0 {
		return
	}
	gone, err := l.orders.remove(func(o *api.Order) bool {
		return slices.ContainsFunc(over, func(x api.Order) bool { return x.ID == o.ID })
	})
	if err != nil {
		l.quiet.Warn("orders", "orders that are over cannot be removed; they stay without effect", "error", err)
		return
	}
	l.quiet.Clear("orders", "orders are saved again")
	for _, o := range gone {
		l.tellOrder(codeExpired, o, now, "over: "+describe(o))
	}
}

// tellOrder journals, logs and shows what happened to an order.
func (l *Loop) tellOrder(code string, o api.Order, now time.Time, sentence string) {
	app := o.App
	if app == api.AllApps {
		app = ""
	}
	l.record(Entry{Time: now, Kind: code, App: app, Detail: sentence})
	l.log.Info("order", "code", code, "id", o.ID, "app", o.App, "owner", o.Owner, "what", sentence)
	l.events.add(api.Event{Time: now, App: app, Code: code, Sentence: sentence, Step: true})
}
