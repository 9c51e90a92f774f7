package decision

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

var lineShape = shapeOf(reflect.TypeFor[Input]())

// Decoder reads observations about the apps of one policy.
type Decoder struct {
	apps  map[string]app
	names string
	nodes map[string]bool
}

type app struct {
	weight  int
	servers map[string]bool
	names   string
}

// NewDecoder takes the policy for the names of apps, servers and nodes. More nodes are those that may be named beside the policy's.
func NewDecoder(p core.Policy, moreNodes ...string) *Decoder {
	d := &Decoder{apps: map[string]app{}, nodes: map[string]bool{}}
	var names []string
	for _, ap := range p.Apps {
		a := app{weight: ap.Weight, servers: map[string]bool{}}
		var servers []string
		for _, s := range ap.Servers {
			a.servers[s.Name] = true
			servers = append(servers, s.Name)
			if s.Node != "" {
				d.nodes[s.Node] = true
			}
		}
		a.names = strings.Join(servers, ", ")
		d.apps[ap.Name] = a
		names = append(names, ap.Name)
	}
	for _, n := range moreNodes {
		d.nodes[n] = true
	}
	d.names = strings.Join(names, ", ")
	return d
}

// Line is one line that was read.
type Line struct {
	core.Observation
	// proxied and web are the apps whose observation has that part.
	proxied, web map[string]bool
}

// Policy is a policy as the line is to be decided by: without HAProxy or nginx for the apps whose observation leaves them out.
func (l *Line) Policy(p core.Policy) core.Policy {
	p.Apps = slices.Clone(p.Apps)
	for i := range p.Apps {
		a := &p.Apps[i]
		a.Proxied = a.Proxied && l.proxied[a.Name]
		a.Web = a.Web && l.web[a.Name]
	}
	return p
}

// Decode reads one line. The error is one sentence with the path of what is wrong.
func (d *Decoder) Decode(line []byte) (Line, error) {
	l := Line{proxied: map[string]bool{}, web: map[string]bool{}}
	if err := check(line, lineShape); err != nil {
		return l, err
	}
	var in Input
	if err := json.Unmarshal(line, &in); err != nil {
		return l, plainly(err)
	}
	if in.Now == nil {
		return l, errors.New("now is missing: the time of the observation, such as 2026-01-02T03:04:05Z or seconds since 1970")
	}
	l.Observation = core.Observation{Now: in.Now.Time, Problem: in.Problem, Apps: make([]core.AppObs, 0, len(in.Apps))}
	o := &l.Observation
	seen := make(map[string]bool, len(in.Apps))
	for i := range in.Apps {
		a := &in.Apps[i]
		known, ok := d.apps[a.Name]
		switch {
		case !ok:
			return l, fmt.Errorf("apps[%d].name: %q is no app of the configuration: %s", i, a.Name, d.names)
		case seen[a.Name]:
			return l, fmt.Errorf("apps[%d].name: %q stands in this line a second time", i, a.Name)
		}
		seen[a.Name] = true
		obs, err := d.app(a, known)
		if err != nil {
			return l, fmt.Errorf("apps[%d].%w", i, err)
		}
		o.Apps = append(o.Apps, obs)
		l.proxied[a.Name], l.web[a.Name] = a.Proxy != nil || len(a.Proxies) > 0, a.Web != nil
	}
	nodes := map[string]bool{}
	for i, n := range in.Nodes {
		switch {
		case !d.nodes[n.Name]:
			return l, fmt.Errorf("nodes[%d].name: %q is no node of the configuration: %s", i, n.Name, strings.Join(slices.Sorted(maps.Keys(d.nodes)), ", "))
		case nodes[n.Name]:
			return l, fmt.Errorf("nodes[%d].name: %q stands in this line a second time", i, n.Name)
		}
		nodes[n.Name] = true
		o.Nodes = append(o.Nodes, core.NodeObs{Name: n.Name, Up: or(n.Up, true), Capacity: int(n.Capacity), CPU: or(n.CPU, -1), Memory: or(n.Memory, -1)})
	}
	return l, nil
}

// plainly takes Go's names out of an error of encoding/json.
func plainly(err error) error {
	var te *json.UnmarshalTypeError
	var se *json.SyntaxError
	switch {
	case errors.As(err, &te):
		return fmt.Errorf("%s: a %s is not allowed there, or is beyond what can be counted", te.Field, te.Value)
	case errors.As(err, &se):
		return fmt.Errorf("at byte %d: this is not JSON: %w", se.Offset, err)
	}
	return err
}

func (d *Decoder) app(in *InputApp, known app) (core.AppObs, error) {
	o := core.AppObs{Name: in.Name, Traffic: in.Traffic.core(), Backlog: in.Backlog.core()}
	if in.Traffic != nil {
		for i, s := range in.Traffic.Seconds {
			if s.At == nil {
				return o, fmt.Errorf("traffic.seconds[%d].at is missing: the second since 1970 it begins with", i)
			}
		}
	}
	o.Proxy = in.Proxy.core()
	if err := d.proxies(in, known, &o); err != nil {
		return o, err
	}
	if w := in.Web; w != nil {
		o.Web = core.WebObs{Known: or(w.Known, true)}
		for _, name := range slices.Sorted(maps.Keys(w.Weights)) {
			if !known.servers[name] {
				return o, fmt.Errorf("web.weights: %q is no server of app %s: %s", name, in.Name, known.names)
			}
			if o.Web.Weights == nil {
				o.Web.Weights = map[string]int{}
			}
			o.Web.Weights[name] = int(w.Weights[name])
		}
	}
	seen := make(map[string]bool, len(in.Servers))
	for i := range in.Servers {
		s := &in.Servers[i]
		switch {
		case !known.servers[s.Name]:
			return o, fmt.Errorf("servers[%d].name: %q is no server of app %s: %s", i, s.Name, in.Name, known.names)
		case seen[s.Name]:
			return o, fmt.Errorf("servers[%d].name: %q stands in this line a second time", i, s.Name)
		}
		seen[s.Name] = true
		if s.Proxy != nil && !admins[s.Proxy.Admin] {
			return o, fmt.Errorf("servers[%d].proxy.admin: %q is not allowed: ready, drain or maint", i, s.Proxy.Admin)
		}
		warm := core.WarmState(s.Warm)
		if !slices.Contains([]core.WarmState{core.WarmNone, core.WarmRunning, core.WarmOK, core.WarmFailed}, warm) {
			return o, fmt.Errorf("servers[%d].warm: %q is not allowed: running, ok, failed or nothing", i, s.Warm)
		}
		o.Servers = append(o.Servers, core.ServerObs{Name: s.Name, Proxy: s.Proxy.core(known.weight), Pool: s.Pool.core(), Warm: warm,
			Answers: int(or(s.Answers, 0)), AnswersKnown: or(s.AnswersKnown, s.Answers != nil)})
	}
	return o, d.orders(in, &o)
}

var admins = map[string]bool{"": true, string(core.AdminReady): true, string(core.AdminDrain): true, string(core.AdminMaint): true}

// proxies takes what several HAProxy instances say.
func (d *Decoder) proxies(in *InputApp, known app, o *core.AppObs) error {
	if len(in.Proxies) > 0 && o.Proxy.Known {
		return errors.New("proxy and proxies stand beside each other: proxy is for an app on one HAProxy, proxies for one on several")
	}
	seen := map[string]bool{}
	for i := range in.Proxies {
		p := &in.Proxies[i]
		switch {
		case p.Name == "":
			return fmt.Errorf("proxies[%d].name is missing: a name that no other instance has", i)
		case seen[p.Name]:
			return fmt.Errorf("proxies[%d].name: %q stands in this line a second time", i, p.Name)
		}
		seen[p.Name] = true
		obs := InputProxy{Known: p.Known, Gone: p.Gone, Process: p.Process, Current: p.Current, Queued: p.Queued}
		at := core.InstanceObs{Name: p.Name, ProxyObs: obs.core()}
		for _, name := range slices.Sorted(maps.Keys(p.Servers)) {
			s := p.Servers[name]
			switch {
			case !known.servers[name]:
				return fmt.Errorf("proxies[%d].servers: %q is no server of app %s: %s", i, name, in.Name, known.names)
			case !admins[s.Admin]:
				return fmt.Errorf("proxies[%d].servers.%s.admin: %q is not allowed: ready, drain or maint", i, name, s.Admin)
			}
			if at.Servers == nil {
				at.Servers = map[string]core.ProxyServerObs{}
			}
			at.Servers[name] = s.core(known.weight)
		}
		o.Proxies = append(o.Proxies, at)
	}
	return nil
}

func (d *Decoder) orders(in *InputApp, o *core.AppObs) error {
	seen := map[string]bool{}
	for i, ord := range in.Orders {
		kind := sizing.OrderKind(ord.Kind)
		switch {
		case ord.ID == "":
			return fmt.Errorf("orders[%d].id is missing: a name that no other order of the app has", i)
		case seen[ord.ID]:
			return fmt.Errorf("orders[%d].id: %q stands in this line a second time", i, ord.ID)
		case kind != sizing.OrderHold && kind != sizing.OrderPin && kind != sizing.OrderReserve:
			return fmt.Errorf("orders[%d].kind: %q is not allowed: hold, pin or reserve", i, ord.Kind)
		case kind == sizing.OrderReserve && ord.From == nil:
			return fmt.Errorf("orders[%d].from is missing: a reservation needs its beginning and its end", i)
		}
		seen[ord.ID] = true
		o.Orders = append(o.Orders, sizing.Order{
			ID: ord.ID, Kind: kind, Owner: ord.Owner, Note: ord.Note, From: or(ord.From, Time{}).Time, Until: or(ord.Until, Time{}).Time,
			Workers: int(ord.Workers), Rate: ord.Rate,
		})
	}
	return nil
}
