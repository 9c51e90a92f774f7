package spoa

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Read in words, a text says what it says read one character after the other.
func compareTimes(t interface{ Fatalf(string, ...any) }, text []byte) {
	quick, want := logTimes{retries: 7, redispatched: true}, logTimes{}
	ok, wantOK := quick.parse(text), want.parseAny(text)
	if ok != wantOK || ok && quick != want {
		t.Fatalf("%q is %+v, %v in words and %+v, %v in characters", text, quick, ok, want, wantOK)
	}
}

func TestTimesInWords(t *testing.T) {
	for text, want := range map[string]logTimes{
		"0/0/0/3/1795302633168830":              {serverConns: 3, connected: 1795302633168830},
		"9999999/12/34/123456/1795302633168830": {queue: 9999999, connect: 12, retries: 34, serverConns: 123456, connected: 1795302633168830},
		"12345678/0/999999/12/0000000000000001": {queue: 12345678, retries: 999999, serverConns: 12, connected: 1},
		"-1/-1/+1/-1/9999999999999999":          {queue: -1, connect: -1, retries: 1, redispatched: true, serverConns: -1, connected: 9999999999999999},
		"0/0/0/2147483647/179530263316883":      {serverConns: 2147483647, connected: 179530263316883},
		"0001/2/3/4/-795302633168830":           {queue: 1, connect: 2, retries: 3, serverConns: 4, connected: -795302633168830},
		"1/2//4/123456789012345678":             {queue: 1, connect: 2, retries: Absent, serverConns: 4, connected: 123456789012345678},
	} {
		var got logTimes
		if ok := got.parse([]byte(text)); !ok || got != want {
			t.Errorf("%s is %+v, %v; want %+v", text, got, ok, want)
		}
		// Any byte in any place.
		for i := range text {
			for c := range 256 {
				changed := []byte(text)
				changed[i] = byte(c)
				compareTimes(t, changed)
			}
			compareTimes(t, []byte(text[:i]))
			compareTimes(t, []byte(text[i:]))
		}
	}
	// Carries from one byte to the next.
	for a := range 256 {
		for b := range 256 {
			compareTimes(t, []byte{'0', '/', '0', '/', '0', '/', byte(a), byte(b), '1', '7', '9', '5', '3', '0', '2', '6', '3', '3', '1', '6', '8', '8', '3', '0'})
			compareTimes(t, []byte{'0', '/', '0', '/', '0', '/', '3', '/', byte(a), byte(b), '9', '5', '3', '0', '2', '6', '3', '3', byte(a), byte(b), '8', '8', '3', '0'})
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64Range(-2, 120), rapid.Int64())
		n := func(what string) int64 { return number.Draw(t, what) }
		plus := rapid.SampledFrom([]string{"", "", "+", "x", "0", ":"}).Draw(t, "sign")
		text := fmt.Appendf(nil, "%d/%d/%s%d/%d/%0*d", n("queue"), n("connect"), plus, n("retries"), n("connections"),
			rapid.IntRange(1, 19).Draw(t, "width"), n("stamp"))
		compareTimes(t, text)
		copy(text[rapid.IntRange(0, len(text)-1).Draw(t, "place"):], rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(t, "bytes"))
		compareTimes(t, text)
	})
}
