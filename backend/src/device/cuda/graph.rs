//! A recorded sequence of launches that the driver replays with one call.
use cust::stream::Stream;
use cust_raw::{CUgraph, CUgraphExec, CUstreamCaptureMode};

use super::failure::Answer;
use crate::error::Result;

/// An instantiated graph.
pub struct Graph(CUgraphExec);

impl Graph {
    /// Records what `enqueue` puts into `stream`; nothing of it runs. All that a replay needs is on the device behind it.
    ///
    /// # Errors
    /// `enqueue` fails, or does something that cannot be recorded.
    pub fn record(stream: &Stream, enqueue: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive.
        unsafe { cust_raw::cuStreamBeginCapture_v2(stream.as_inner(), mode) }
            .or_failed("starting to record a graph")?;
        let enqueued = enqueue();
        let mut graph: CUgraph = std::ptr::null_mut();
        // SAFETY: the stream is recording since the call above, and recording ends here whatever happened between.
        let ended = unsafe { cust_raw::cuStreamEndCapture(stream.as_inner(), &mut graph) };
        enqueued?;
        ended.or_failed("recording a graph")?;
        let mut exec: CUgraphExec = std::ptr::null_mut();
        let (no_node, no_log) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: `graph` was just recorded, is instantiated once and is not used after it is destroyed.
        let instantiated = unsafe {
            let instantiated = cust_raw::cuGraphInstantiate_v2(&mut exec, graph, no_node, no_log, 0);
            cust_raw::cuGraphDestroy(graph);
            instantiated
        };
        instantiated.or_failed("instantiating a graph")?;
        let graph = Graph(exec);
        // SAFETY: the graph was just instantiated, and the stream is alive.
        unsafe { cust_raw::cuGraphUpload(exec, stream.as_inner()) }.or_failed("uploading a graph")?;
        Ok(graph)
    }

    /// Enqueues a replay.
    ///
    /// # Errors
    /// It does not start.
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        // SAFETY: the graph is alive, and replays of it follow each other in one stream.
        unsafe { cust_raw::cuGraphLaunch(self.0, stream.as_inner()) }.or_failed("starting a recorded step")
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and the device waits for its stream before it drops its graphs.
        unsafe { cust_raw::cuGraphExecDestroy(self.0) };
    }
}
