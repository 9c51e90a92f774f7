package spoa

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

const ackName = "tidegate_spoa_ack_seconds"

var ackBounds = [...]time.Duration{
	10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond,
}

// ackHistogram is a Prometheus histogram that counts many equal values at once, as the frames of one drained input are;
// the library's takes a lock for each.
type ackHistogram struct {
	counts [len(ackBounds) + 1]atomic.Uint64
	nanos  atomic.Uint64
}

func (h *ackHistogram) add(n int, d time.Duration) {
	i := 0
	for i < len(ackBounds) && d > ackBounds[i] {
		i++
	}
	h.counts[i].Add(uint64(n))
	h.nanos.Add(uint64(max(d, 0)) * uint64(n))
}

func (h *ackHistogram) write(w io.Writer) {
	metrics.WriteMetadataIfNeeded(w, ackName, "histogram")
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
		le := "+Inf"
		if i < len(ackBounds) {
			le = strconv.FormatFloat(ackBounds[i].Seconds(), 'g', -1, 64)
		}
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", ackName, le, total)
	}
	fmt.Fprintf(w, "%s_sum %g\n%s_count %d\n", ackName, float64(h.nanos.Load())/1e9, ackName, total)
}
