//! Makes what a door says durable, unchanged.
