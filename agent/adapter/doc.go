// Package adapter is what the node agent wants of an application server: a Source counts the requests in progress, a Queue
// tells how many connections wait, an Actuator knows and changes the number of workers. Any source pairs with any actuator.
//
// An adapter belongs to one application and is used by one goroutine, three times a second or more; what takes longer than a
// tenth of a second it does less often, and it says how old its numbers are. Making an adapter opens and starts nothing.
// One that implements io.Closer is closed when the agent ends; workers stay as they are then.
//
// Errors are one sentence for a person, with the path or address that was tried. They never stand for zero.
package adapter
