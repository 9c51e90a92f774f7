package control

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

const (
	// maxOrders bounds the orders in force.
	maxOrders = 1000
	// mostOrder is the longest an order may last and the furthest ahead it may begin, mostReserve the longest a reservation may last.
	mostOrder   = 366 * 24 * time.Hour
	mostReserve = 24 * time.Hour
	maxOwner    = 64
	maxNote     = 200
	// maxRate is the highest announced rate, in requests per second.
	maxRate = 1e6
)

// checkOrder makes an order of a request, or says in one sentence what is wrong with it.
func checkOrder(r api.OrderRequest, s *Setup, now time.Time) (api.Order, error) {
	o := api.Order{App: r.App, Kind: r.Kind, Owner: r.Owner, Note: r.Note, Workers: r.Workers, Rate: r.Rate, Created: now.UTC().Truncate(time.Second), State: "waiting"}
	kind := sizing.OrderKind(r.Kind)
	if kind != sizing.OrderHold && kind != sizing.OrderPin && kind != sizing.OrderReserve {
		return o, fmt.Errorf("kind: %s is not allowed: hold, pin or reserve", quoted(r.Kind))
	}
	app, err := orderApp(r.App, kind, s)
	if err != nil {
		return o, err
	}
	for key, text := range map[string]string{"owner": r.Owner, "note": r.Note} {
		if most := map[string]int{"owner": maxOwner, "note": maxNote}[key]; len(text) > most || strings.ContainsFunc(text, unicode.IsControl) {
			return o, fmt.Errorf("%s: %s is not allowed: at most %d bytes without line breaks", key, quoted(text), most)
		}
	}
	if err := orderTimes(r, kind, &o, now); err != nil {
		return o, err
	}
	return o, orderSize(r, kind, app)
}

func orderApp(name string, kind sizing.OrderKind, s *Setup) (*App, error) {
	if name == api.AllApps {
		if kind != sizing.OrderHold {
			return nil, fmt.Errorf("app: a %s is for one app; only a hold may be for all", kind)
		}
		return nil, nil
	}
	app := s.app(name)
	if app == nil {
		var names []string
		for _, a := range s.Apps {
			names = append(names, a.Policy.Name)
		}
		list := strings.Join(names, ", ")
		if len(list) > 500 {
			list = "see `tidegate status`"
		}
		return nil, api.Refused{Kind: api.ErrNotFound, Sentence: fmt.Sprintf("app: no app is called %s; there is %s", quoted(name), list)}
	}
	if st := app.Policy.Strategy; kind != sizing.OrderHold && (st == core.Noop || st == core.Latency) {
		return nil, fmt.Errorf("app: the strategy of %s is %s, which does not size it in workers: it can be held, but no number of workers can be pinned or reserved", name, st)
	}
	return app, nil
}

// orderTimes sets beginning and end.
func orderTimes(r api.OrderRequest, kind sizing.OrderKind, o *api.Order, now time.Time) error {
	o.From = r.From
	if o.From.IsZero() || o.From.Before(now) && now.Sub(o.From) < time.Minute {
		o.From = now
	}
	o.From = o.From.UTC().Truncate(time.Second)
	o.Until = r.Until.UTC()
	switch {
	case r.From.After(now.Add(mostOrder)):
		return fmt.Errorf("from: %s is not allowed: at most %d days ahead", r.From.Format(time.RFC3339), mostOrder/(24*time.Hour))
	case r.For != "" && !r.Until.IsZero():
		return errors.New("for and until cannot be given together")
	case r.For != "":
		d, err := time.ParseDuration(r.For)
		if err != nil || d < time.Second || d > mostOrder {
			return fmt.Errorf("for: %s is not allowed: a duration from 1s to %.0fh, such as 30m or 2h", quoted(r.For), mostOrder.Hours())
		}
		o.Until = o.From.Add(d)
	}
	switch {
	case o.Until.IsZero() && kind == sizing.OrderReserve:
		return errors.New("for: a reservation needs an end: how long the announced load lasts, such as 30m")
	case o.Until.IsZero():
		return nil
	case !o.Until.After(o.From):
		return fmt.Errorf("until: %s is not allowed: an end after the beginning (%s)", o.Until.Format(time.RFC3339), o.From.Format(time.RFC3339))
	case !o.Until.After(now):
		return fmt.Errorf("until: %s has passed", o.Until.Format(time.RFC3339))
	case o.Until.Sub(o.From) > mostOrder:
		return fmt.Errorf("until: %s is not allowed: an order lasts at most %d days", o.Until.Format(time.RFC3339), mostOrder/(24*time.Hour))
	case kind == sizing.OrderReserve && o.Until.Sub(o.From) > mostReserve:
		return fmt.Errorf("for: %v is not allowed: a reservation lasts at most %v", o.Until.Sub(o.From), mostReserve)
	}
	return nil
}

// orderSize checks the number of workers or requests per second.
func orderSize(r api.OrderRequest, kind sizing.OrderKind, app *App) error {
	switch {
	case kind == sizing.OrderHold && (r.Workers != 0 || r.Rate != 0):
		return errors.New("a hold has no size: workers and rate are for pins and reservations")
	case kind == sizing.OrderPin && r.Rate != 0:
		return errors.New("rate: a pin is a number of workers; announce a rate with reserve")
	case kind == sizing.OrderPin:
		least, most := app.limits()
		if r.Workers < least || r.Workers > most {
			return fmt.Errorf("workers: %d is not allowed for %s: %d to %d", r.Workers, app.Policy.Name, least, most)
		}
	case kind == sizing.OrderReserve && (r.Workers != 0) == (r.Rate != 0):
		return errors.New("a reservation needs either workers or rate (requests per second)")
	case kind == sizing.OrderReserve && r.Workers != 0:
		if _, most := app.limits(); r.Workers < 1 || r.Workers > most {
			return fmt.Errorf("workers: %d is not allowed for %s: 1 to %d", r.Workers, app.Policy.Name, most)
		}
	case kind == sizing.OrderReserve && (math.IsNaN(r.Rate) || r.Rate <= 0 || r.Rate > maxRate):
		return fmt.Errorf("rate: %v is not allowed: above 0 and at most %.0f requests per second", r.Rate, maxRate)
	}
	return nil
}

// limits are the least and the most workers of an app.
func (a *App) limits() (least, most int) {
	for _, s := range a.Policy.Servers {
		most += s.MaxWorkers
	}
	if a.Policy.MaxWorkers > 0 {
		most = min(most, a.Policy.MaxWorkers)
	}
	return max(1, a.Policy.MinWorkers), most
}

// describe says an order in a few words.
func describe(o api.Order) string {
	app := o.App
	if app == api.AllApps {
		app = "all apps"
	}
	text := ""
	switch sizing.OrderKind(o.Kind) {
	case sizing.OrderHold:
		text = "hold " + app
	case sizing.OrderPin:
		text = fmt.Sprintf("pin %s to %d workers", app, o.Workers)
	case sizing.OrderReserve:
		text = fmt.Sprintf("reserve %d workers of %s", o.Workers, app)
		if o.Workers == 0 {
			text = fmt.Sprintf("reserve room for %g requests/s on %s", o.Rate, app)
		}
	}
	if o.From.After(o.Created) {
		text += " from " + o.From.Format(time.RFC3339)
	}
	if !o.Until.IsZero() {
		text += " until " + o.Until.Format(time.RFC3339)
	}
	if o.Owner != "" {
		text += ", by " + o.Owner
	}
	if o.Note != "" {
		text += " (" + o.Note + ")"
	}
	return text + " [" + o.ID + "]"
}

// quoted shows a text that somebody sent, shortened.
func quoted(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "..."
	}
	return fmt.Sprintf("%q", s)
}
