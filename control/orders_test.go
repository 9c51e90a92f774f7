package control

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// pool is a node whose agent reports what it was told.
func sizedSetup() Setup {
	setup := testSetup(&faulty{})
	p := &setup.Apps[0].Policy
	p.Strategy, p.Sizing, p.MinWorkers, p.MaxWorkers, p.Fill = core.Erlang, sizing.Default(), 2, 8, 1
	for i := range p.Servers {
		p.Servers[i] = core.ServerPolicy{Name: p.Servers[i].Name, Node: "n" + p.Servers[i].Name, Managed: true, MinWorkers: 1, MaxWorkers: 4, ParkedWorkers: 1}
		setup.Apps[0].Servers[i].Node = "n" + p.Servers[i].Name
	}
	quiet := setup.Apps[0]
	quiet.Policy.Name, quiet.Policy.Strategy, quiet.Backend = "old", core.Latency, "old"
	setup.Apps = append(setup.Apps, quiet)
	return setup
}

func request(kind, app string, change func(r *api.OrderRequest)) api.OrderRequest {
	r := api.OrderRequest{Kind: kind, App: app, Owner: "ann"}
	if change != nil {
		change(&r)
	}
	return r
}

func TestOrdersThatAreRefusedChangeNothing(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	for name, c := range map[string]struct {
		r    api.OrderRequest
		want string
	}{
		"no kind":              {request("", "shop", nil), `kind: "" is not allowed`},
		"another kind":         {request("stop", "shop", nil), "hold, pin or reserve"},
		"no such app":          {request("hold", "shoop", nil), `no app is called "shoop"; there is shop, old`},
		"pin all":              {request("pin", "*", func(r *api.OrderRequest) { r.Workers = 3 }), "only a hold may be for all"},
		"pin too many":         {request("pin", "shop", func(r *api.OrderRequest) { r.Workers = 9 }), "workers: 9 is not allowed for shop: 2 to 8"},
		"pin too few":          {request("pin", "shop", func(r *api.OrderRequest) { r.Workers = 1 }), "2 to 8"},
		"pin a rate":           {request("pin", "shop", func(r *api.OrderRequest) { r.Rate = 9 }), "rate: a pin is"},
		"pin a latency app":    {request("pin", "old", func(r *api.OrderRequest) { r.Workers = 3 }), "the strategy of old is latency"},
		"hold with a size":     {request("hold", "shop", func(r *api.OrderRequest) { r.Workers = 3 }), "a hold has no size"},
		"reserve nothing":      {request("reserve", "shop", func(r *api.OrderRequest) { r.For = "1h" }), "either workers or rate"},
		"reserve both":         {request("reserve", "shop", func(r *api.OrderRequest) { r.For, r.Workers, r.Rate = "1h", 2, 2 }), "either workers or rate"},
		"reserve too many":     {request("reserve", "shop", func(r *api.OrderRequest) { r.For, r.Workers = "1h", 9 }), "1 to 8"},
		"reserve below zero":   {request("reserve", "shop", func(r *api.OrderRequest) { r.For, r.Rate = "1h", -1 }), "rate: -1 is not allowed"},
		"reserve no number":    {request("reserve", "shop", func(r *api.OrderRequest) { r.For, r.Rate = "1h", math.NaN() }), "rate: NaN"},
		"reserve without end":  {request("reserve", "shop", func(r *api.OrderRequest) { r.Workers = 3 }), "needs an end"},
		"reserve for too long": {request("reserve", "shop", func(r *api.OrderRequest) { r.For, r.Workers = "25h", 3 }), "at most 24h"},
		"a bad length":         {request("hold", "shop", func(r *api.OrderRequest) { r.For = "soon" }), `for: "soon" is not allowed`},
		"a length below zero":  {request("hold", "shop", func(r *api.OrderRequest) { r.For = "-1h" }), "a duration from 1s"},
		"two ends":             {request("hold", "shop", func(r *api.OrderRequest) { r.For, r.Until = "1h", time.Now().Add(time.Hour) }), "together"},
		"over already":         {request("hold", "shop", func(r *api.OrderRequest) { r.From, r.Until = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour) }), "has passed"},
		"ends before it began": {request("hold", "shop", func(r *api.OrderRequest) { r.Until = time.Now().Add(-time.Hour) }), "an end after the beginning"},
		"in ten years":         {request("hold", "shop", func(r *api.OrderRequest) { r.From = time.Now().AddDate(10, 0, 0) }), "at most 366 days ahead"},
		"a note of two lines":  {request("hold", "shop", func(r *api.OrderRequest) { r.Note = "a\nb" }), "note:"},
		"a long owner":         {request("hold", "shop", func(r *api.OrderRequest) { r.Owner = strings.Repeat("x", 65) }), "at most 64 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := l.Order(c.r); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one sentence with %q", err, c.want)
			}
		})
	}
	if list := l.Orders(); len(list) != 0 {
		t.Errorf("refused orders are there: %+v", list)
	}
	for what, want := range map[string]string{"nobody": "neither the id", "shop": "shop has no order"} {
		if _, err := l.Release(what); !errors.Is(err, api.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("release %s: %v", what, err)
		}
	}
}

// Orders outlive kill -9: a loop on the same folder, without the old one having ended, has them all.
func TestOrdersOutliveTheProcess(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	dir := l.store.dir()
	hold, err := l.Order(request("hold", api.AllApps, func(r *api.OrderRequest) { r.Note = "move" }))
	if err != nil {
		t.Fatal(err)
	}
	pin, err := l.Order(request("pin", "shop", func(r *api.OrderRequest) { r.Workers, r.For = 4, "1h" }))
	if err != nil {
		t.Fatal(err)
	}
	// A second pin of the same owner takes the first one's place, somebody else's stands beside it.
	again, err := l.Order(request("pin", "shop", func(r *api.OrderRequest) { r.Workers, r.For = 3, "1h" }))
	if err != nil || again.ID == pin.ID {
		t.Fatalf("%+v %v", again, err)
	}
	if _, err := l.Order(request("pin", "shop", func(r *api.OrderRequest) { r.Workers, r.Owner = 5, "bob" })); err != nil {
		t.Fatal(err)
	}
	store, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	next, err := New(Options{Setup: sizedSetup(), Store: store, Journal: NewJournal(dir, JournalMaxBytes), Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
	if err != nil {
		t.Fatal(err)
	}
	list := next.Orders()
	if len(list) != 3 || list[0].ID != hold.ID || list[0].Note != "move" || list[1].ID != again.ID || list[1].Workers != 3 || !list[1].Until.Equal(again.Until) {
		t.Fatalf("%+v", list)
	}
	if got := next.orders.of("shop"); len(got) != 3 || got[1].Kind != sizing.OrderPin || got[1].Workers != 3 {
		t.Errorf("the core gets %+v", got)
	}
	if got := next.orders.of("old"); len(got) != 1 || got[0].Kind != sizing.OrderHold {
		t.Errorf("the core gets %+v for the other app", got)
	}
	// Numbers are never given twice.
	if o, err := next.Order(request("hold", "old", nil)); err != nil || o.ID == hold.ID || o.ID == "hold-2" {
		t.Errorf("%+v %v", o, err)
	}
	if gone, err := next.Release("shop"); err != nil || len(gone) != 2 {
		t.Errorf("released %+v %v", gone, err)
	}
	if _, err := next.Release("shop"); err == nil || !strings.Contains(err.Error(), "release hold-1, which is for all apps") {
		t.Errorf("%v", err)
	}
	if gone, err := next.Release(hold.ID); err != nil || len(gone) != 1 {
		t.Errorf("released %+v %v", gone, err)
	}
}

func TestAnOrderThatCannotBeSavedIsNotGiven(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	if _, err := l.Order(request("hold", "shop", nil)); err != nil {
		t.Fatal(err)
	}
	// A folder in the temporary file's place stands for a disk that takes no more files.
	if err := os.Mkdir(filepath.Join(l.store.dir(), "orders.json.tmp"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Order(request("hold", "old", nil)); !errors.Is(err, api.ErrNotSaved) {
		t.Errorf("given: %v", err)
	}
	if _, err := l.Release("shop"); !errors.Is(err, api.ErrNotSaved) {
		t.Errorf("released: %v", err)
	}
	if list := l.Orders(); len(list) != 1 || list[0].App != "shop" {
		t.Errorf("%+v", list)
	}
}

func TestABrokenOrdersFileIsPutAside(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "orders.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"orders":[`), 0o640); err != nil {
		t.Fatal(err)
	}
	if b, err := openOrders(dir); err == nil || len(b.list) != 0 {
		t.Errorf("%v %v", b, err)
	}
	if _, err := os.Stat(file + ".bad"); err != nil {
		t.Error(err)
	}
}

// What became of each order is shown after each turn, and what is over is told once and gone.
func TestOrdersAreFollowed(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	now := time.Now().Truncate(time.Second)
	give := func(kind, app string, change func(r *api.OrderRequest)) string {
		t.Helper()
		o, err := l.Order(request(kind, app, change))
		if err != nil {
			t.Fatal(err)
		}
		return o.ID
	}
	all := give("hold", api.AllApps, func(r *api.OrderRequest) { r.For = "10m" })
	later := give("hold", "old", func(r *api.OrderRequest) { r.From, r.For = now.Add(5*time.Minute), "1h" })
	room := give("reserve", "shop", func(r *api.OrderRequest) { r.Rate, r.For = 5000, "1h" })
	pin := give("pin", "shop", func(r *api.OrderRequest) { r.Workers, r.For = 3, "1h" })
	l.oneTurn(t.Context(), now.Add(time.Second))
	states := func() map[string]string {
		out := map[string]string{}
		for _, o := range l.Orders() {
			out[o.ID] = o.State
		}
		return out
	}
	if got := states(); got[all] != "active" || got[later] != "waiting" || got[room] != "refused" || got[pin] != "active" {
		t.Errorf("%v", got)
	}
	s, _ := l.Status()
	if s.Apps[0].Hold != "hold_order" || s.Apps[1].Hold != "hold_order" || len(s.Apps[0].Orders) != 3 || len(s.Apps[1].Orders) != 2 {
		t.Errorf("%+v", s.Apps)
	}
	for _, o := range s.Apps[0].Orders {
		if o.ID == room && (!strings.Contains(o.Why, "at most 8 may run") || o.Asks < 9) {
			t.Errorf("%+v", o)
		}
	}
	l.oneTurn(t.Context(), now.Add(11*time.Minute))
	if got := states(); got[all] != "" || got[later] != "active" || len(got) != 3 {
		t.Errorf("after the hold's end: %v", got)
	}
	l.oneTurn(t.Context(), now.Add(12*time.Minute))
	told := 0
	s, _ = l.Status()
	for _, e := range s.Events {
		if e.Code == codeExpired && strings.Contains(e.Sentence, all) {
			told++
		}
	}
	if told != 1 || s.Apps[0].Hold == "hold_order" || s.Apps[1].Hold != "hold_order" {
		t.Errorf("told %d times, apps %+v", told, s.Apps)
	}
	var b strings.Builder
	l.WriteMetrics(&b)
	if !strings.Contains(b.String(), `tidegate_app_order{app="shop",id="`+pin+`",kind="pin",state="active"} 1`) || strings.Contains(b.String(), all) {
		t.Errorf("metrics:\n%s", b.String())
	}
}
