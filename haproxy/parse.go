package haproxy

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nextReply cuts the first answer off a transcript: what stands before the first empty line. It reports false when the
// transcript ends before that line does.
func nextReply(text []byte) (body, rest []byte, ok bool) {
	if len(text) > 0 && text[0] == '\n' {
		return nil, text[1:], true
	}
	if end := bytes.Index(text, []byte("\n\n")); end >= 0 {
		return text[:end+1], text[end+2:], true
	}
	return nil, text, false
}

// message strips the severity ("[3]: ") from an answer that is a message and makes one line of it.
func message(body []byte) string {
	s := strings.TrimSpace(string(body))
	if len(s) > 3 && s[0] == '[' && s[1] >= '0' && s[1] <= '7' && s[2] == ']' && s[3] == ':' {
		s = strings.TrimSpace(s[4:])
	}
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}

// isMessage tells whether an answer is a message of the given text, with or without a severity.
func isMessage(body []byte, text string) bool {
	return len(body) < 2*len(text)+20 && message(body) == text // a long answer is none
}

// parseInfo reads the answer to "show info".
func parseInfo(body []byte) (Process, error) {
	fields := map[string]string{}
	for line := range strings.Lines(string(body)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			return Process{}, fmt.Errorf("read show info: the line %.80q is not \"key: value\"", line)
		}
		fields[key] = strings.TrimSpace(value)
	}
	number := func(key string, most int64) (int64, error) {
		n, err := strconv.ParseInt(fields[key], 10, 64)
		if err != nil || n < 0 || n > most {
			return 0, fmt.Errorf("read show info: %s is %.40q, not a number from 0 to %d", key, fields[key], most)
		}
		return n, nil
	}
	pid, err1 := number("Pid", math.MaxInt32)
	start, err2 := number("Start_time_sec", math.MaxUint32)
	uptime, err3 := number("Uptime_sec", math.MaxUint32)
	stopping, err4 := number("Stopping", math.MaxInt32)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Process{}, err
	}
	return Process{
		ID:       fmt.Sprintf("%d:%d", pid, start),
		PID:      int(pid),
		Started:  time.Unix(start, 0),
		Version:  fields["Version"],
		Uptime:   time.Duration(uptime) * time.Second,
		Stopping: stopping != 0,
	}, nil
}

// serverStates is the answer to "show servers state" for one backend.
type serverStates struct {
	missing bool
	id      int // the backend's number (be_id), 0 when it has no server
	servers []Server
}

// stateColumns are the columns that are read; others may come, go and move between versions.
var stateColumns = []string{"be_id", "be_name", "srv_name", "srv_addr", "srv_port", "srv_op_state", "srv_admin_state",
	"srv_uweight", "srv_iweight", "srv_check_result", "srv_check_state"}

// parseServers reads the answer to "show servers state BACKEND": a format version, a header, a line for each server.
func parseServers(body []byte, backend string) (serverStates, error) {
	var out serverStates
	if isMessage(body, "Can't find backend.") {
		out.missing = true
		return out, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) < 2 || lines[0] != "1" || !strings.HasPrefix(lines[1], "# ") {
		return out, fmt.Errorf("read show servers state %s: the answer %.120q is not the format of version 1", backend, message(body))
	}
	header := strings.Fields(lines[1][2:])
	col, err := columns(header, stateColumns)
	if err != nil {
		return out, fmt.Errorf("read show servers state %s: %w", backend, err)
	}
	seen := map[string]bool{}
	for _, line := range lines[2:] {
		row := strings.Split(line, " ")
		if len(row) != len(header) {
			return out, fmt.Errorf("read show servers state %s: the line %.120q has %d fields, not %d", backend, line, len(row), len(header))
		}
		if row[col["be_name"]] != backend {
			return out, fmt.Errorf("read show servers state %s: the answer is about the backend %.80q", backend, row[col["be_name"]])
		}
		srv, err := serverOf(row, col)
		if err == nil && seen[srv.Name] {
			err = errors.New("the server is named twice")
		}
		if err != nil {
			return out, fmt.Errorf("read show servers state %s/%.80s: %w", backend, row[col["srv_name"]], err)
		}
		if out.id, err = bounded(row[col["be_id"]], math.MaxInt32); err != nil {
			return out, fmt.Errorf("read show servers state %s: be_id: %w", backend, err)
		}
		seen[srv.Name] = true
		out.servers = append(out.servers, srv)
	}
	slices.SortFunc(out.servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Bits of srv_check_state and values of srv_check_result, from HAProxy's include/haproxy/check-t.h.
const (
	checkConfigured, checkEnabled = 2, 4
	checkPassed, checkCondPassed  = 3, 4
)

func serverOf(row []string, col map[string]int) (Server, error) {
	name := row[col["srv_name"]]
	if err := checkName("server", name); err != nil {
		return Server{}, err
	}
	var errs []error
	number := func(column string, most int) int {
		n, err := bounded(row[col[column]], most)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", column, err))
		}
		return n
	}
	checks, result := number("srv_check_state", math.MaxInt32), number("srv_check_result", math.MaxInt32)
	s := Server{
		Name:            name,
		Addr:            address(row[col["srv_addr"]], row[col["srv_port"]]),
		Admin:           Admin(number("srv_admin_state", math.MaxUint8)),
		Op:              OpState(number("srv_op_state", int(OpStopping))),
		Weight:          number("srv_uweight", MaxWeight),
		InitialWeight:   number("srv_iweight", MaxWeight),
		CheckConfigured: checks&checkConfigured != 0,
		CheckEnabled:    checks&checkEnabled != 0,
		CheckPassing:    result == checkPassed || result == checkCondPassed,
	}
	return s, errors.Join(errs...)
}

func address(host, port string) string {
	if host == "-" || host == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// load is what "show stat BACKEND 6 -1" adds to the servers' states.
type load struct {
	seen            bool // the backend's own line was there
	algorithm       string
	current, queued int
	servers         map[string]serverLoad
}

type serverLoad struct {
	current, queued, maxConn int
	sessions                 uint64
	answers                  int64
	status                   string
}

var statColumns = []string{"pxname", "svname", "type", "qcur", "scur", "slim", "stot", "status"}

// Values of the type column.
const (
	typeBackend = "1"
	typeServer  = "2"
)

// parseStat reads the CSV that answers "show stat BACKEND 6 -1". Lines about other proxies are not taken: HAProxy reads a name
// it does not know as a number, and shows the proxy that has it.
func parseStat(body []byte, backend string) (load, error) {
	out := load{servers: map[string]serverLoad{}}
	if isMessage(body, "No such proxy.") {
		return out, nil
	}
	text, ok := strings.CutPrefix(string(body), "# ")
	if !ok {
		return out, fmt.Errorf("read show stat %s: the answer %.120q has no header", backend, message(body))
	}
	r := csv.NewReader(strings.NewReader(text))
	header, err := r.Read() // also sets how many fields each line must have
	if err != nil {
		return out, fmt.Errorf("read show stat %s: the header: %w", backend, err)
	}
	r.ReuseRecord = true
	col, err := columns(header, statColumns)
	if err != nil {
		return out, fmt.Errorf("read show stat %s: %w", backend, err)
	}
	algo := slices.Index(header, "algo")
	answers := answerColumns(header)
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("read show stat %s: %w", backend, err)
		}
		if row[col["pxname"]] != backend {
			continue
		}
		if err := out.add(row, col, algo, answers); err != nil {
			return out, fmt.Errorf("read show stat %s/%.80s: %w", backend, row[col["svname"]], err)
		}
	}
}

func (l *load) add(row []string, col map[string]int, algo int, answers []int) error {
	queued, err1 := bounded(row[col["qcur"]], math.MaxInt32)
	current, err2 := bounded(row[col["scur"]], math.MaxInt32)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("qcur, scur: %w", err)
	}
	switch row[col["type"]] {
	case typeBackend:
		l.seen, l.current, l.queued = true, current, queued
		if algo >= 0 && row[algo] != "unknown" { // as 2.6 says of random
			l.algorithm = row[algo]
		}
	case typeServer:
		s := serverLoad{current: current, queued: queued, status: row[col["status"]]}
		var err error
		if limit := row[col["slim"]]; limit != "" {
			if s.maxConn, err = bounded(limit, math.MaxInt32); err != nil {
				return fmt.Errorf("slim: %w", err)
			}
		}
		if s.sessions, err = strconv.ParseUint(row[col["stot"]], 10, 64); err != nil {
			return fmt.Errorf("stot %.40q is not a count", row[col["stot"]])
		}
		if s.answers, err = countAnswers(row, answers); err != nil {
			return err
		}
		l.servers[row[col["svname"]]] = s
	}
	return nil
}

// answerColumns are the places of the counters of good answers, none in a HAProxy that does not have them all.
func answerColumns(header []string) []int {
	var at []int
	for _, name := range []string{"hrsp_2xx", "hrsp_3xx", "hrsp_4xx"} {
		i := slices.Index(header, name)
		if i < 0 {
			return nil
		}
		at = append(at, i)
	}
	return at
}

// countAnswers adds up counters, -1 when one is empty, as in TCP mode.
func countAnswers(row []string, at []int) (int64, error) {
	if len(at) == 0 {
		return -1, nil
	}
	sum := int64(0)
	for _, i := range at {
		if row[i] == "" {
			return -1, nil
		}
		n, err := strconv.ParseUint(row[i], 10, 62)
		if err != nil {
			return -1, fmt.Errorf("the count of answers %.40q is not a count", row[i])
		}
		sum += int64(n)
	}
	return sum, nil
}

// columns maps the wanted names to their places in a header.
func columns(header, wanted []string) (map[string]int, error) {
	at := make(map[string]int, len(wanted))
	for _, name := range wanted {
		i := slices.Index(header, name)
		if i < 0 {
			return nil, fmt.Errorf("the header has no column %s", name)
		}
		at[name] = i
	}
	return at, nil
}

func bounded(s string, most int) (int, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > uint64(most) {
		return 0, fmt.Errorf("%.40q is not a number from 0 to %d", s, most)
	}
	return int(n), nil
}
