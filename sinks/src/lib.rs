//! Lets others read.
