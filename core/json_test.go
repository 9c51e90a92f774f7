package core

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Nothing that is written anywhere has a duration without a name that says its unit.
func TestDurationsAreSecondsInJSON(t *testing.T) {
	in := AppObs{
		Name: "shop",
		Traffic: TrafficObs{Known: true, Age: 1500 * time.Millisecond, P50: 120 * time.Millisecond, P95: time.Second, P99: 2 * time.Second,
			Responses: []time.Duration{123456789, time.Millisecond}},
		Servers: []ServerObs{{Name: "s1", Pool: PoolObs{Known: true, Age: 250 * time.Millisecond, Ready: 3}}},
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"age_s":1.5`, `"p50_s":0.12`, `"p95_s":1`, `"p99_s":2`, `"responses_s":[0.123456789,0.001]`, `"age_s":0.25`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	var out AppObs
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
}

// What is written comes back as it was, for all values.
func TestJSONRoundTrip(t *testing.T) {
	same := func(written, read any) bool {
		text, err := json.Marshal(written)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, read); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return cmp.Equal(written, reflect.ValueOf(read).Elem().Interface())
	}
	short := func(d []time.Duration) []time.Duration {
		var out []time.Duration
		for _, v := range d {
			out = append(out, v%time.Duration(1e15))
		}
		return out
	}
	f := func(known bool, rate float64, age, p50 time.Duration, responses []time.Duration, ready int, breaches int) bool {
		tr := TrafficObs{Known: known, Rate: rate, Age: age % 1e15, P50: p50 % 1e15, Responses: short(responses)}
		return same(tr, new(TrafficObs)) && same(PoolObs{Known: known, Ready: ready, Age: age % 1e15}, new(PoolObs)) &&
			same(LatencyMemory{Recent: short(responses), Breaches: breaches}, new(LatencyMemory))
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}
