//! Servers that are killed: at each commit of the module, and at any moment under load. What was answered holds, nothing is
//! given twice, and the sums that are kept are those of what they count.

mod heard;
mod load;
mod steps;
mod stored;
