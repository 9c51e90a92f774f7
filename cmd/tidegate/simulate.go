package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/sim"
	"github.com/tidegate/tidegate/sim/ours"
	"github.com/tidegate/tidegate/sim/peers"
	"github.com/tidegate/tidegate/sim/report"
	"github.com/tidegate/tidegate/sim/traces"
)

const ourName = "tidegate"

// simulateOptions are the flags of simulate.
type simulateOptions struct {
	config, app     string
	traces          []string
	random          int
	policies        []string
	seed            uint64
	seeds           int
	warmUp, service time.Duration
	slo, tick       time.Duration
	cv              float64
	workers         string
	nodes           int
	loseNode        bool
	set             []string
	report, output  string
	oracle          string
}

func simulateCommand() *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Try an app's policy on a model, before it goes live",
		Long: `Simulate runs the decision core of tidegate, the very same that "tidegate run" runs, in a model of an app behind HAProxy: requests that
come at random, one queue, workers that take time to warm up and to drain, nodes that are lost, dependencies that are slow, metrics that
fail. It prints how many requests were slow and how many worker-hours that cost, beside the rules of other autoscalers and beside an
oracle that knows the future. Nothing live is contacted or changed. docs/simulate.md says what the model does and does not know.

Without arguments it plays the built-in traces with the default policy, which takes about a minute.`,
		Example: `  tidegate simulate
  tidegate simulate --trace spike --trace outage --report report.html
  tidegate simulate -c /etc/tidegate/tidegate.yaml --app shop --trace traffic.csv --service 120ms --warmup 20s
  tidegate simulate --random 20 --seed 7 --policy tidegate,kpa-300s
  tidegate simulate --trace spike --set down.window=10m --set erlang.max_late=0.01`,
		Args: cobra.NoArgs,
	}
	p := sim.DefaultParams()
	f := cmd.Flags()
	f.StringVarP(&o.config, "config", "c", "", "take an app's policy and servers from this configuration `FILE`")
	f.StringVar(&o.app, "app", "", "the app's `NAME` in that file (its only one by default)")
	f.StringArrayVar(&o.traces, "trace", nil, "built-in trace or `FILE.csv`; may be given several times (all built-in ones by default)")
	f.IntVar(&o.random, "random", 0, "play `N` random traces of other shapes")
	f.StringSliceVar(&o.policies, "policy", []string{ourName, "kpa-300s", "hpa-conc", "uwsgi-tuned"}, "`NAMES` of policies, or all")
	f.Uint64Var(&o.seed, "seed", 1, "the first seed; the same seed gives the same figures")
	f.IntVar(&o.seeds, "seeds", 1, "play every trace with `N` seeds")
	f.DurationVar(&o.service, "service", dur(p.Service), "mean service `TIME`")
	f.Float64Var(&o.cv, "cv", p.CV, "coefficient of variation of the service time")
	f.DurationVar(&o.warmUp, "warmup", dur(p.WarmUp), "`TIME` from ordering a worker to its first request")
	f.DurationVar(&o.slo, "slo", dur(p.SLO), "response `TIME` above which a request is slow")
	f.StringVar(&o.workers, "workers", fmt.Sprintf("%d..%d", p.MinWorkers, p.MaxWorkers), "least and largest number of workers, `MIN..MAX`")
	f.IntVar(&o.nodes, "nodes", p.Nodes, "number of nodes that hold them")
	f.DurationVar(&o.tick, "tick", 2*time.Second, "`TIME` between two decisions of tidegate, in whole seconds")
	f.BoolVar(&o.loseNode, "lose-node", false, "tidegate sizes so that one node may be lost")
	f.StringArrayVar(&o.set, "set", nil, "change tidegate's sizing policy, `KEY=VALUE` as in down.window=10m; may be given several times")
	f.StringVar(&o.oracle, "oracle", sim.Fine.Name, "the oracle's `YARDSTICK`: fine, coarse (dearer), or none (faster; costs are worker-hours then)")
	f.StringVar(&o.report, "report", "", "write one HTML page with charts to this `FILE`")
	f.StringVarP(&o.output, "output", "o", "table", "table, json or csv")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return simulate(cmd, o) }
	return cmd
}

func dur(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func simulate(cmd *cobra.Command, o simulateOptions) error {
	suite, err := o.suite(cmd)
	if err != nil {
		return usageError{err}
	}
	print := map[string]func(io.Writer, *sim.Outcome) error{"table": report.Table, "json": report.JSON, "csv": report.CSV}[o.output]
	if print == nil {
		return usageError{fmt.Errorf("-o %q is not allowed: table, json or csv", o.output)}
	}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		suite.Done = func(done, all int) {
			fmt.Fprintf(os.Stderr, "\r%d of %d runs ", done, all)
			if done == all {
				fmt.Fprint(os.Stderr, "\r\033[K")
			}
		}
	}
	if o.report != "" {
		if info, err := os.Stat(filepath.Dir(o.report)); err != nil || !info.IsDir() {
			return usageError{fmt.Errorf("--report %s is not allowed: its folder must exist", o.report)}
		}
	}
	outcome, err := suite.Run(cmd.Context())
	if err != nil {
		return err
	}
	if o.report != "" {
		var page bytes.Buffer
		if err := report.HTML(&page, outcome); err != nil {
			return err
		}
		if err := os.WriteFile(o.report, page.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return print(cmd.OutOrStdout(), outcome)
}

// suite turns the flags into runs.
func (o simulateOptions) suite(cmd *cobra.Command) (sim.Suite, error) {
	var s sim.Suite
	switch o.oracle {
	case sim.Fine.Name:
		s.Oracle = &sim.Fine
	case sim.Coarse.Name:
		s.Oracle = &sim.Coarse
	case "none":
	default:
		return s, fmt.Errorf("--oracle %q is not allowed: fine, coarse or none", o.oracle)
	}
	var err error
	var app core.AppPolicy
	if s.Params, app, err = o.params(cmd); err != nil {
		return s, err
	}
	if o.seeds < 1 || o.seeds > 1000 {
		return s, fmt.Errorf("--seeds %d is not allowed: 1 to 1000", o.seeds)
	}
	for i := range o.seeds {
		s.Seeds = append(s.Seeds, o.seed+uint64(i))
	}
	if s.Traces, err = o.sources(); err != nil {
		return s, err
	}
	s.Policies, err = o.choose(app)
	return s, err
}

// params are the model's and the app's policy, from the flags and the configuration file.
func (o *simulateOptions) params(cmd *cobra.Command) (sim.Params, core.AppPolicy, error) {
	p := sim.DefaultParams()
	p.Service, p.CV, p.WarmUp, p.SLO, p.Nodes = o.service.Seconds(), o.cv, o.warmUp.Seconds(), o.slo.Seconds(), o.nodes
	low, high, ok := strings.Cut(o.workers, "..")
	var err1, err2 error
	p.MinWorkers, err1 = strconv.Atoi(low)
	p.MaxWorkers, err2 = strconv.Atoi(high)
	if !ok || err1 != nil || err2 != nil {
		return p, core.AppPolicy{}, fmt.Errorf("--workers %q is not allowed: MIN..MAX, as in 4..160", o.workers)
	}
	var app core.AppPolicy
	if o.config == "" {
		if o.app != "" {
			return p, app, errors.New("--app goes with --config")
		}
		app = ours.App(p)
	} else {
		var err error
		if app, err = o.configured(cmd, &p); err != nil {
			return p, app, err
		}
	}
	if o.loseNode {
		app.Sizing.Erlang.LoseNode = true
	}
	for _, s := range o.set {
		if err := set(&app, s); err != nil {
			return p, app, err
		}
	}
	return p, app, p.Check()
}

// configured takes the policy of an app from a configuration file, and the fleet from its servers.
func (o *simulateOptions) configured(cmd *cobra.Command, p *sim.Params) (core.AppPolicy, error) {
	c, err := conf.LoadController(o.config)
	if err != nil {
		return core.AppPolicy{}, err
	}
	var names []string
	for _, a := range c.Apps {
		names = append(names, a.Policy.Name)
	}
	i := slices.Index(names, o.app)
	if o.app == "" && len(names) == 1 {
		i = 0
	}
	if i < 0 {
		return core.AppPolicy{}, fmt.Errorf("--app %q is not in %s: %s", o.app, o.config, strings.Join(names, ", "))
	}
	app := c.Apps[i].Policy
	for _, flag := range []string{"workers", "nodes"} {
		if cmd.Flags().Changed(flag) {
			return app, fmt.Errorf("--%s does not go with --config: the servers of %s say it", flag, app.Name)
		}
	}
	p.PerNode, p.MaxWorkers = nil, 0
	for _, s := range app.Servers {
		if !s.Managed {
			return app, fmt.Errorf("%s has servers without a node (%s); only workers on nodes can be simulated", app.Name, s.Name)
		}
		p.PerNode = append(p.PerNode, s.MaxWorkers)
		p.MaxWorkers += s.MaxWorkers
	}
	p.Nodes = len(p.PerNode)
	if app.MaxWorkers > 0 {
		p.MaxWorkers = min(p.MaxWorkers, app.MaxWorkers)
	}
	p.MinWorkers = max(1, app.MinWorkers)
	if !cmd.Flags().Changed("tick") {
		o.tick = max(time.Second, c.Tick.Round(time.Second))
	}
	if cmd.Flags().Changed("slo") {
		app.Sizing.SLO = o.slo
	} else if app.Sizing.SLO > 0 {
		p.SLO = app.Sizing.SLO.Seconds()
	}
	return app, nil
}

// sources are the traces asked for.
func (o simulateOptions) sources() ([]sim.Source, error) {
	names := o.traces
	if len(names) == 0 && o.random == 0 {
		names = traces.Names()
	}
	var out []sim.Source
	for _, name := range names {
		if strings.HasSuffix(name, ".csv") {
			t, err := traces.File(name)
			if err != nil {
				return nil, err
			}
			out = append(out, sim.Source{Name: t.Name, Make: func(uint64) (*sim.Trace, error) { return t, nil }})
			continue
		}
		if _, err := traces.Builtin(name, 1); err != nil {
			return nil, err
		}
		out = append(out, sim.Source{Name: name, Make: func(seed uint64) (*sim.Trace, error) { return traces.Builtin(name, seed) }})
	}
	if o.random < 0 || o.random > 1000 {
		return nil, fmt.Errorf("--random %d is not allowed: 0 to 1000", o.random)
	}
	for i := range o.random {
		out = append(out, sim.Source{Name: fmt.Sprintf("random-%d", i+1), Make: func(seed uint64) (*sim.Trace, error) { return traces.Random(i+1, seed), nil }})
	}
	return out, nil
}

// choose are the policies asked for.
func (o simulateOptions) choose(app core.AppPolicy) ([]sim.Policy, error) {
	if o.tick < time.Second || o.tick%time.Second != 0 {
		return nil, fmt.Errorf("--tick %v is not allowed: whole seconds", o.tick)
	}
	all := append([]sim.Policy{ours.Policy(ourName, app, int(o.tick/time.Second))}, peers.All()...)
	if slices.Equal(o.policies, []string{"all"}) {
		return all, nil
	}
	var out []sim.Policy
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	for _, name := range o.policies {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("there is no policy %q: %s, or all", name, strings.Join(names, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// set changes one value of the sizing policy, named as in its JSON form: down.window=10m.
func set(app *core.AppPolicy, assignment string) error {
	key, text, ok := strings.Cut(assignment, "=")
	if !ok {
		return fmt.Errorf("--set %q is not allowed: KEY=VALUE, as in down.window=10m", assignment)
	}
	data, err := json.Marshal(app.Sizing)
	if err != nil {
		return err
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return err
	}
	at := tree
	path := strings.Split(key, ".")
	for _, k := range path[:len(path)-1] {
		next, ok := at[k].(map[string]any)
		if !ok {
			return fmt.Errorf("--set %s: there is no %q in the sizing policy", key, k)
		}
		at = next
	}
	name := path[len(path)-1]
	if _, ok := at[name]; !ok {
		return fmt.Errorf("--set %s: there is no %q there", key, name)
	}
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		at[name] = int64(d)
	} else if err := json.Unmarshal([]byte(text), new(any)); err == nil {
		at[name] = json.RawMessage(text)
	} else {
		at[name] = text
	}
	if data, err = json.Marshal(tree); err != nil {
		return err
	}
	next := app.Sizing
	if err := json.Unmarshal(data, &next); err != nil {
		return fmt.Errorf("--set %s=%s: %w", key, text, err)
	}
	if err := next.Check(); err != nil {
		return fmt.Errorf("--set %s=%s: %w", key, text, err)
	}
	app.Sizing = next
	return nil
}
