package decision

import (
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// The types below are what a line may say. Pointers tell what was left out from zero; the comments say what that means.

// Input is one observation: everything that one turn knows.
type Input struct {
	// Now must be given, and never goes back from line to line.
	Now     *Time       `json:"now"`
	Problem string      `json:"problem"`
	Apps    []InputApp  `json:"apps"`
	Nodes   []InputNode `json:"nodes"`
}

// InputApp is what was seen of one app. An app that is left out is not decided on in this turn.
type InputApp struct {
	Name string `json:"name"`
	// Traffic left out: nothing was told by HAProxy's filter.
	Traffic *InputTraffic `json:"traffic"`
	// Proxy left out: the app is decided on as one without HAProxy, and servers serve as soon as their workers are ready.
	Proxy *InputProxy `json:"proxy"`
	// Proxies are given instead of Proxy, and of Proxy of each server, where the app is on several HAProxy instances.
	Proxies []InputInstance `json:"proxies"`
	// Web left out: the app is decided on as one without nginx.
	Web     *InputWeb     `json:"web"`
	Servers []InputServer `json:"servers"`
	Backlog *InputBacklog `json:"backlog"`
	Orders  []InputOrder  `json:"orders"`
}

// InputTraffic is what HAProxy's filter told. Known left out: true.
type InputTraffic struct {
	Known     *bool         `json:"known"`
	Rate      float64       `json:"rate"`
	Errors    float64       `json:"errors"`
	Age       float64       `json:"age_s"`
	Seconds   []InputSecond `json:"seconds"`
	InFlight  Whole         `json:"in_flight"`
	Queued    Whole         `json:"queued"`
	P50       float64       `json:"p50_s"`
	P95       float64       `json:"p95_s"`
	P99       float64       `json:"p99_s"`
	Responses []float64     `json:"responses_s"`
}

// InputSecond is what happened from second At on. At must be given.
type InputSecond struct {
	At          *Whole   `json:"at"`
	Span        Whole    `json:"span"`
	Arrivals    float64  `json:"arrivals"`
	Completions float64  `json:"completions"`
	Errors      float64  `json:"errors"`
	Timed       float64  `json:"timed"`
	Queue       float64  `json:"queue"`
	Connect     float64  `json:"connect"`
	Service     float64  `json:"service"`
	Busy        *float64 `json:"busy"`
}

// InputProxy is the backend as HAProxy reports it. Known left out: true, or false when it is Gone.
type InputProxy struct {
	Known   *bool  `json:"known"`
	Gone    bool   `json:"gone"`
	Process string `json:"process"`
	Current Whole  `json:"current"`
	Queued  Whole  `json:"queued"`
}

// InputInstance is the backend as one of several HAProxy instances reports it, with its servers by name. Name must be given; the
// rest is as in InputProxy and InputProxyState. A server that is left out is one that this HAProxy does not have.
type InputInstance struct {
	Name    string                     `json:"name"`
	Known   *bool                      `json:"known"`
	Gone    bool                       `json:"gone"`
	Process string                     `json:"process"`
	Current Whole                      `json:"current"`
	Queued  Whole                      `json:"queued"`
	Servers map[string]InputProxyState `json:"servers"`
}

// InputWeb is the nginx upstream: weight by server, 0 for down. Known left out: true.
type InputWeb struct {
	Known   *bool            `json:"known"`
	Weights map[string]Whole `json:"weights"`
}

// InputServer is what was seen of one server. A server that is left out is one about which nothing is known.
type InputServer struct {
	Name  string           `json:"name"`
	Proxy *InputProxyState `json:"proxy"`
	Pool  *InputPool       `json:"pool"`
	Warm  string           `json:"warm"`
	// AnswersKnown left out: whether Answers is given.
	Answers      *Whole `json:"answers"`
	AnswersKnown *bool  `json:"answers_known"`
}

// InputProxyState is a server as HAProxy reports it. Known left out: true; Admin: ready; Up: whether Admin is ready; Weight: the
// policy's, or 0 in maintenance.
type InputProxyState struct {
	Known      *bool  `json:"known"`
	Admin      string `json:"admin"`
	FromConfig bool   `json:"from_config"`
	Up         *bool  `json:"up"`
	Checked    bool   `json:"checked"`
	Weight     *Whole `json:"weight"`
	Current    Whole  `json:"current"`
	Queued     Whole  `json:"queued"`
	MaxConn    Whole  `json:"maxconn"`
	Address    string `json:"address"`
}

// InputPool is the workers on the server's node. Known left out: true; Total: ready + starting; BusyKnown: whether busy is given;
// Target: ready + starting, so that no order is repeated that has been carried out.
type InputPool struct {
	Known     *bool    `json:"known"`
	Age       float64  `json:"age_s"`
	Total     *Whole   `json:"total"`
	Ready     Whole    `json:"ready"`
	Starting  Whole    `json:"starting"`
	Draining  Whole    `json:"draining"`
	Ordered   *bool    `json:"ordered"`
	Min       Whole    `json:"min"`
	Max       Whole    `json:"max"`
	Step      Whole    `json:"step"`
	Drained   bool     `json:"drained"`
	OldFirst  bool     `json:"old_first"`
	BusyKnown *bool    `json:"busy_known"`
	Busy      *float64 `json:"busy"`
	Target    *Whole   `json:"target"`
}

// InputBacklog is the message queue.
type InputBacklog struct {
	Items   float64 `json:"items"`
	In      float64 `json:"in"`
	Out     float64 `json:"out"`
	Oldest  float64 `json:"oldest"`
	Service float64 `json:"service"`
}

// InputOrder is an order. ID and Kind must be given, From and Until of a reservation too.
type InputOrder struct {
	ID      string  `json:"id"`
	Kind    string  `json:"kind"`
	Owner   string  `json:"owner"`
	Note    string  `json:"note"`
	From    *Time   `json:"from"`
	Until   *Time   `json:"until"`
	Workers Whole   `json:"workers"`
	Rate    float64 `json:"rate"`
}

// InputNode is one machine. Up left out: true; CPU and Memory: -1, not known.
type InputNode struct {
	Name     string   `json:"name"`
	Up       *bool    `json:"up"`
	Capacity Whole    `json:"capacity"`
	CPU      *float64 `json:"cpu"`
	Memory   *float64 `json:"memory"`
}

func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

func (in *InputTraffic) core() core.TrafficObs {
	if in == nil {
		return core.TrafficObs{}
	}
	t := core.TrafficObs{
		Known: or(in.Known, true), Rate: in.Rate, Errors: in.Errors, Age: duration(in.Age), InFlight: int(in.InFlight), Queued: int(in.Queued),
		P50: duration(in.P50), P95: duration(in.P95), P99: duration(in.P99),
	}
	if len(in.Seconds) > 0 {
		t.Seconds = make([]sizing.Second, len(in.Seconds))
	}
	for i := range in.Seconds {
		s := &in.Seconds[i]
		t.Seconds[i] = sizing.Second{
			At: int64(or(s.At, 0)), Span: int(s.Span), Arrivals: s.Arrivals, Completions: s.Completions, Errors: s.Errors, Timed: s.Timed,
			Queue: s.Queue, Connect: s.Connect, Service: s.Service, Busy: s.Busy,
		}
	}
	for _, r := range in.Responses {
		t.Responses = append(t.Responses, duration(r))
	}
	return t
}

func (in *InputProxy) core() core.ProxyObs {
	if in == nil {
		return core.ProxyObs{}
	}
	return core.ProxyObs{Known: or(in.Known, !in.Gone), Gone: in.Gone, Process: in.Process, Current: int(in.Current), Queued: int(in.Queued)}
}

func (in *InputProxyState) core(weight int) core.ProxyServerObs {
	if in == nil {
		return core.ProxyServerObs{}
	}
	admin, known := core.AdminState(in.Admin), or(in.Known, true)
	if admin == "" && known {
		admin = core.AdminReady
	}
	if admin == core.AdminMaint {
		weight = 0
	}
	return core.ProxyServerObs{
		Known: known, Admin: admin, FromConfig: in.FromConfig, Up: or(in.Up, admin == core.AdminReady), Checked: in.Checked,
		Weight: int(or(in.Weight, Whole(weight))), Current: int(in.Current), Queued: int(in.Queued), MaxConn: int(in.MaxConn), Address: in.Address,
	}
}

func (in *InputPool) core() core.PoolObs {
	if in == nil {
		return core.PoolObs{}
	}
	running := in.Ready + in.Starting
	return core.PoolObs{
		Known: or(in.Known, true), Age: duration(in.Age), Total: int(or(in.Total, running)), Ready: int(in.Ready), Starting: int(in.Starting),
		Draining: int(in.Draining), BusyKnown: or(in.BusyKnown, in.Busy != nil), Busy: or(in.Busy, 0), Target: int(or(in.Target, running)),
		Ordered: or(in.Ordered, false), Min: int(in.Min), Max: int(in.Max), Step: int(in.Step), Drained: in.Drained, OldFirst: in.OldFirst,
	}
}

func (in *InputBacklog) core() *sizing.Backlog {
	if in == nil {
		return nil
	}
	return &sizing.Backlog{Items: in.Items, In: in.In, Out: in.Out, Oldest: in.Oldest, Service: in.Service}
}
