package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api/decision"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/core"
)

// decideFlags are the flags of `tidegate decide`.
type decideFlags struct {
	config, memory, memoryOut string
	format                    string
	apps                      []string
	trace, policy             bool
}

func decideCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "decide -c FILE < OBSERVATIONS > PLANS",
		Short: "Decide on observations from standard input, offline: JSON lines in, JSON lines out",
		Long: `Decide reads one observation a line and answers each with one line: the plan, with the reasons. It is the very decision that
run takes, with no clock but the observations' own, so the same lines give the same answers, byte for byte. Each answer is
written before the next line is read, so another program can hold a conversation with it: write a line, read a line.

FILE is a controller's configuration. For decisions alone it may be as short as

    apps:
      - name: shop
        servers: [{name: n1, node: n1, workers: {max: 24}}]

docs/json.md explains every name. A line that is not right ends it with one sentence on standard error and exit status 2; the
lines before it have been answered.`,
		Example: `  echo '{"now": 1700000000, "apps": [{"name": "shop",
    "traffic": {"seconds": [{"at": 1699999995, "span": 5, "arrivals": 200, "completions": 200, "service": 24}]},
    "servers": [{"name": "n1", "pool": {"ready": 8, "busy": 4.8}}]}]}' | tr -d '\n' | tidegate decide -c tidegate.yaml -o text`,
		Args: cobra.NoArgs,
	}
	var f decideFlags
	fs := cmd.Flags()
	fs.StringVarP(&f.config, "config", "c", "", "configuration `FILE`")
	fs.StringVar(&f.memory, "memory", "", "begin with the memory in `FILE`, such as a copy of STATE_DIR/memory.json (default none)")
	fs.StringVar(&f.memoryOut, "memory-out", "", "write the memory to `FILE` at the end of the input")
	fs.StringArrayVar(&f.apps, "app", nil, "answer for this app `NAME` only; may be given several times")
	fs.StringVarP(&f.format, "output", "o", "json", "json, or text: one readable line for each app and turn")
	fs.BoolVar(&f.trace, "trace", true, "tell the inputs and steps of each decision; --trace=false leaves them out")
	fs.BoolVar(&f.policy, "policy", false, "print the policy with all its defaults as JSON, and read nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return decide(cmd.Context(), f, cmd.InOrStdin(), cmd.OutOrStdout())
	}
	return cmd
}

// decide answers lines until their end or a signal.
func decide(ctx context.Context, f decideFlags, in io.Reader, out io.Writer) error {
	d, err := newDecider(f)
	if err != nil {
		return err
	}
	if f.policy {
		text, err := decision.EncodePolicy(d.policy(time.Unix(0, 0)))
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	done := make(chan error, 1)
	// Reading cannot be interrupted, so it is left behind when a signal comes; an answer under way is finished first.
	go func() { done <- d.answer(in, out) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		d.busy.Lock()
		return errors.New("interrupted")
	}
}

// answer answers lines until their end.
func (d *decider) answer(in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if len(bytes.TrimSpace(line)) > 0 {
			if err := d.one(line, out); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return d.finish()
		case err != nil:
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// one answers one line, or nothing of it.
func (d *decider) one(line []byte, out io.Writer) error {
	d.busy.Lock()
	defer d.busy.Unlock()
	answer, err := d.line(line)
	if err != nil {
		return usageError{err}
	}
	if _, err := out.Write(answer); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// maxLine bounds an observation: a thousand apps on fifty nodes each have about ten megabytes.
const maxLine = 256 << 20

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := slices.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > maxLine {
			return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
		}
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// decider holds what goes from one line to the next.
type decider struct {
	flags   decideFlags
	conf    *conf.Controller
	decoder *decision.Decoder
	memory  core.Memory
	last    time.Time
	// busy is held while a line is decided and answered.
	busy sync.Mutex
}

func newDecider(f decideFlags) (*decider, error) {
	switch {
	case f.config == "":
		return nil, usageError{errors.New("tidegate decide needs -c FILE, the configuration")}
	case f.format != "json" && f.format != "text":
		return nil, usageError{fmt.Errorf("--output %q is not allowed: json or text", f.format)}
	}
	c, err := conf.LoadPolicy(f.config)
	if err != nil {
		return nil, usageError{err}
	}
	d := &decider{flags: f, conf: c}
	p := d.policy(time.Unix(0, 0))
	for _, name := range f.apps {
		if !slices.ContainsFunc(p.Apps, func(a core.AppPolicy) bool { return a.Name == name }) {
			return nil, usageError{fmt.Errorf("--app %q: %s has no such app", name, f.config)}
		}
	}
	var nodes []string
	for _, n := range c.Nodes {
		nodes = append(nodes, n.Name)
	}
	d.decoder = decision.NewDecoder(p, nodes...)
	if f.memory == "" {
		return d, nil
	}
	text, err := os.ReadFile(f.memory)
	if err != nil {
		return nil, usageError{fmt.Errorf("--memory: %w", err)}
	}
	if d.memory, err = decision.ReadMemory(text); err != nil {
		return nil, usageError{fmt.Errorf("--memory %s: %w", f.memory, err)}
	}
	return d, nil
}

// policy is the configuration's, as it is in force at a time.
func (d *decider) policy(now time.Time) core.Policy { return policyOf(d.conf)(now) }

func policyOf(c *conf.Controller) func(now time.Time) core.Policy {
	return func(now time.Time) core.Policy {
		p := core.Policy{Apps: make([]core.AppPolicy, len(c.Apps))}
		for i := range c.Apps {
			p.Apps[i] = c.Apps[i].At(now)
		}
		return p
	}
}

// line decides on one observation.
func (d *decider) line(text []byte) ([]byte, error) {
	o, err := d.decoder.Decode(text)
	if err != nil {
		return nil, err
	}
	if o.Now.Before(d.last) {
		return nil, fmt.Errorf("now: %s is before the line before it (%s)", o.Now.Format(time.RFC3339Nano), d.last.Format(time.RFC3339Nano))
	}
	d.last = o.Now
	plan, memory := core.Decide(o.Policy(d.policy(o.Now)), d.memory, o.Observation)
	d.memory = memory
	opt := decision.Options{Trace: d.flags.trace, Apps: d.flags.apps}
	if d.flags.format == "text" {
		return readable(o.Observation, plan, opt), nil
	}
	return decision.Encode(o.Observation, plan, opt)
}

// readable is a line for each app.
func readable(o core.Observation, plan core.Plan, opt decision.Options) []byte {
	var b bytes.Buffer
	for _, p := range decision.Answered(o, plan, opt) {
		fmt.Fprintf(&b, "%s  %s  %d workers", o.Now.Format(time.RFC3339), p.Name, p.Workers)
		for i, t := range p.Targets {
			sign := ", "
			if i == 0 {
				sign = ": "
			}
			fmt.Fprintf(&b, "%s%s %s %d", sign, t.Server, t.Phase, t.Run)
		}
		if p.Sizing != nil && len(p.Sizing.Alarms) > 0 {
			var alarms []string
			for _, a := range p.Sizing.Alarms {
				alarms = append(alarms, string(a))
			}
			fmt.Fprintf(&b, "  ALARM %s", strings.Join(alarms, ", "))
		}
		for _, r := range p.Reasons {
			fmt.Fprintf(&b, "  [%s] %s", r.Code, r.Sentence)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// finish writes the memory, whole or not at all.
func (d *decider) finish() error {
	if d.flags.memoryOut == "" {
		return nil
	}
	text, err := decision.WriteMemory(d.memory)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(d.flags.memoryOut), ".tidegate-memory-*")
	if err != nil {
		return fmt.Errorf("--memory-out: %w", err)
	}
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), d.flags.memoryOut)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("--memory-out: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}
