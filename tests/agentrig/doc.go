// Package agentrig tests the node agent on a real app server: it runs an agent for one application on a socket of its own,
// and asks, loads and scales the application through HTTP and the agent's API, as the controller does.
//
// Two checks are the same for every server: Site.Counts (the right number of busy workers while none, some and all of them
// are busy) and Site.Cycles (up and down under load, and no request fails).
package agentrig
