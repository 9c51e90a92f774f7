// Package traces makes what sim plays: the built-in traces, each a shape with seeded randomness in its times and sizes; random
// mixes of other shapes, which nobody has tuned for; and a user's own traffic from a CSV file.
package traces
