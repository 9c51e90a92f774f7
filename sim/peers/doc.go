// Package peers has the rules of other autoscalers as scalers of package sim, each in a file that names its source. They are our
// own short versions of what was read there, for one app with one queue and equal workers: no pods that fail, no several metrics.
// They pay for the same warm-up as everybody else. What is missing while no metrics arrive is left to each rule's own way.
package peers
