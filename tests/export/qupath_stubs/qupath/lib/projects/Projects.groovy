package qupath.lib.projects

class Projects {
    static Project createProject(File folder, Class kind) {
        new Project(file: new File(folder, 'project.qpproj'))
    }
}
