package srv

import (
	"context"
	"fmt"

	"github.com/miekg/dns"
)

// Ask asks who answers at an address, as nginx does, for an upstream's servers, and returns their number.
func Ask(ctx context.Context, at, upstream string) (int, error) {
	q := new(dns.Msg)
	q.SetQuestion(question(upstream), dns.TypeSRV)
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network}
		in, _, err := c.ExchangeContext(ctx, q, at)
		switch {
		case err != nil:
			return 0, fmt.Errorf("ask %s: %w", at, err)
		case in.Rcode != dns.RcodeSuccess:
			return 0, fmt.Errorf("the answer is %s", dns.RcodeToString[in.Rcode])
		case !in.Truncated:
			return len(in.Answer), nil
		}
	}
	return 0, fmt.Errorf("the answer is cut short even over TCP")
}
